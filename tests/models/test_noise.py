"""``noise='forward'`` is q(x_t | x_0) whatever sampler a pipeline was saved with; what is no DDPM is refused."""

import inspect

import diffusers
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, SchedulerMixin
from mmcls.models.teachers.diffusers_teacher import DiffusersTeacher
from mmcls.models.teachers.dit_teacher import DiTTeacher
from mmcls.models.teachers.families import find_teacher_type
from support import tiny_unet

T = 1000
# Of video, of cosine levels in continuous time, and of levels that no argument sets.
OTHERS = ('CogVideoX', 'Wuerstchen', 'UnCLIP')


def schedulers(is_ddpm: bool) -> list[str]:
    """Those of diffusers whose levels are of discrete timesteps, or those of other processes."""
    found = []
    for name in dir(diffusers):
        kind = getattr(diffusers, name) if name.endswith('Scheduler') else None
        if not (inspect.isclass(kind) and issubclass(kind, SchedulerMixin)) or any(n in name for n in OTHERS):
            continue
        try:
            scheduler = kind()
        except (ImportError, TypeError):
            continue  # needs a library, or arguments
        if (getattr(scheduler, 'alphas_cumprod', None) is not None) == is_ddpm:
            found.append(name)
    return found


def teacher_with(scheduler, folder, **settings) -> DiffusersTeacher:
    DDPMPipeline(tiny_unet(), DDPMScheduler()).save_pretrained(folder)
    scheduler.save_pretrained(folder / 'scheduler')
    index = folder / 'model_index.json'
    index.write_text(index.read_text().replace('DDPMScheduler', type(scheduler).__name__))
    return DiffusersTeacher(str(folder), **settings)


def test_there_are_as_many_as_expected():
    found = schedulers(is_ddpm=True)
    assert len(found) >= 17
    assert {'DDPMScheduler', 'DPMSolverMultistepScheduler', 'UniPCMultistepScheduler', 'EulerDiscreteScheduler'} <= set(
        found
    )


@pytest.mark.parametrize('name', schedulers(is_ddpm=True))
def test_x_t_is_the_closed_form(name, tmp_path, monkeypatch):
    kind = getattr(diffusers, name)
    known = inspect.signature(kind).parameters
    settings = {'beta_start': 1e-4, 'beta_end': 0.02, 'beta_schedule': 'linear', 'num_train_timesteps': T}
    teacher = teacher_with(kind(**{k: v for k, v in settings.items() if k in known}), tmp_path, noise='forward')
    x, noise, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.randn(4, 3, 8, 8), torch.tensor([0, 10, 500, 990])
    monkeypatch.setattr(torch, 'randn_like', lambda x: noise)
    betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    alpha = torch.tensor([(1 - betas[: step + 1]).prod() for step in t])[:, None, None, None]
    expected = (alpha.sqrt() * x + (1 - alpha).sqrt() * noise).float()
    assert torch.allclose(teacher.prepare(x, t), expected, atol=1e-5)


@pytest.mark.parametrize('name', schedulers(is_ddpm=False))
def test_processes_without_such_levels_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f'not of a DDPM: its {name} knows no noise level'):
        teacher_with(getattr(diffusers, name)(), tmp_path)


def test_flow_matching_by_a_ddpms_scheduler_is_refused(tmp_path):
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type='flow_prediction', use_flow_sigmas=True)
    with pytest.raises(ValueError, match='not of a DDPM'):
        teacher_with(scheduler, tmp_path)


def test_consistency_models_are_not_read_as_ddpms(tmp_path):
    pipeline = diffusers.ConsistencyModelPipeline(tiny_unet(), diffusers.CMStochasticIterativeScheduler())
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='not of a DDPM: its CMStochasticIterativeScheduler'):
        DiffusersTeacher(str(tmp_path))


@pytest.mark.parametrize('name', ['StableCascadePriorPipeline', 'StableDiffusionInpaintPipeline', 'WanPipeline'])
def test_a_pipeline_that_no_teacher_reads_is_named(name, tmp_path):
    (tmp_path / 'model_index.json').write_text(f'{{"_class_name": "{name}", "transformer": ["diffusers", "X"]}}')
    with pytest.raises(ValueError, match=f'is a {name}; teachers read'):
        find_teacher_type(str(tmp_path))


def test_dits_embedding_of_time_is_the_one_it_was_trained_with(tmp_path):
    from tiny_pipelines import dit

    dit(tmp_path / 'dit')
    teacher = DiTTeacher(str(tmp_path / 'dit'), ['transformer_blocks.0'])
    t = torch.tensor([0, 100, 261, 999])
    frequencies = 10000 ** (-torch.arange(128, dtype=torch.float64) / 128)
    angles = t[:, None] * frequencies
    expected = torch.cat([angles.cos(), angles.sin()], 1).float()
    embedded = teacher.network.transformer_blocks[0].norm1.emb.time_proj(t)
    assert torch.allclose(embedded, expected, atol=1e-4)
