"""Real runs of tools/ from the tree's folder, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import run_tool

TREE = Path(__file__).resolve().parents[2] / 'classification_distill'
DISTILL = 'configs/digits-hint/ddpm-r18_hint.py'
SMALL = ['model.backbone.base_channels=4', 'model.backbone.stem_channels=4']


def environment(**variables):
    path = str(Path(__file__).parent)  # for custom_imports
    return os.environ | {'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, 'PYTHONPATH': path} | variables


def run(*command, check=True, **variables):
    env = environment(**variables)
    result = subprocess.run(command, cwd=TREE, capture_output=True, text=True, env=env, timeout=900)
    assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def train(config, work_dir, options, *arguments):
    arguments = [config, '--work-dir', work_dir, *arguments, '--cfg-options', *options]
    code, output = run_tool('train.py', *arguments, folder=TREE)
    assert code == 0, output[-3000:]
    return output


def rows(work_dir, key):
    newest = max(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [row[key] for row in map(json.loads, newest.read_text().splitlines()) if key in row]


def distill_options(digits, pipeline_folder, epochs=2, samples=192):
    return [
        *SMALL,
        f'model.teacher.pretrained={pipeline_folder}',
        f'data_root={digits}',
        f'train_dataloader.dataset.indices={samples}',
        'val_dataloader.dataset.indices=64',
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=1',
    ]


def finetune_options(digits, checkpoint):
    return [
        *SMALL,
        'model.head.in_channels=32',
        f'model.backbone.init_cfg.checkpoint={checkpoint}',
        f'data_root={digits}',
        'train_cfg.max_iters=4',
        'train_cfg.val_interval=4',
        'default_hooks.checkpoint.interval=4',
    ]


def test_distil_fine_tune_and_test(digits, pipeline_folder, tmp_path):
    distilled = tmp_path / 'distill' / 'epoch_2.pth'
    run('bash', 'tools/dist_train.sh', DISTILL, '1', '--work-dir', distilled.parent,
        '--cfg-options', *distill_options(digits, pipeline_folder))  # fmt: skip
    histogram = (distilled.parent / 'timestep_histogram.jsonl').read_text().splitlines()
    assert sum(json.loads(histogram[-1])['counts']) == 2 * 192
    assert list(distilled.parent.glob('*/vis_data/vis_image/timesteps*.png'))

    config = 'configs/baseline/r18_b64_digits_finetune_repfusion.py'
    options = finetune_options(digits, distilled)
    output = train(config, tmp_path / 'finetune', options)
    assert f'backbone: 120 of 120 tensors equal those of {distilled}' in output
    out = tmp_path / 'metrics.json'
    run('bash', 'tools/dist_test.sh', config, tmp_path / 'finetune' / 'iter_4.pth', '2', '--out', out,
        '--work-dir', tmp_path / 'test', '--cfg-options', *options,
        'test_dataloader.dataset.dataset.ann_file=meta/val.txt')  # fmt: skip
    tested = json.loads(out.read_text())['accuracy/top1']
    assert tested == pytest.approx(rows(tmp_path / 'finetune', 'accuracy/top1')[-1], abs=1e-3)


def test_two_processes_give_the_losses_of_one_with_twice_the_batch(digits, pipeline_folder, tmp_path):
    config = tmp_path / 'plain.py'  # nothing random in a step, and no statistics over a process's own batch
    config.write_text(
        f"_base_ = '{TREE / DISTILL}'\n"
        "custom_imports = dict(imports=['mmcls', 'rank_loss_hook'])\n"
        "custom_hooks = [dict(type='RankLossHook')]\n"
        'data_preprocessor = dict(augments=[])\n'
        "model = dict(timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep=50),\n"
        "             backbone=dict(norm_cfg=dict(type='GN', num_groups=2)))\n"
    )
    losses = {}
    for processes, batch_size in ((1, 64), (2, 32)):
        work_dir = tmp_path / str(processes)
        options = [*distill_options(digits, pipeline_folder, epochs=1), f'train_dataloader.batch_size={batch_size}']
        command = ['tools/dist_train.sh', config, str(processes), '--work-dir', work_dir, '--cfg-options', *options]
        run('bash', *command)
        ranks = [json.loads(path.read_text()) for path in sorted(work_dir.glob('rank*.json'))]
        assert len(ranks) == processes
        losses[processes] = torch.tensor(ranks).mean(0)
    assert len(losses[1]) == 3
    assert torch.allclose(losses[1], losses[2], atol=1e-4)


def test_training_a_diffusion_model_leaves_a_pipeline(digits, tmp_path):
    from diffusers import DDPMPipeline
    from mmcls.models.teachers.diffusers_teacher import DiffusersTeacher

    train(
        'configs/teacher/ddpm_digits.py',
        tmp_path,
        [
            f'data_root={digits}',
            'train_dataloader.dataset.indices=128',
            'model.unet.block_out_channels=(8,8)',
            'train_cfg.max_epochs=2',
            'default_hooks.checkpoint.interval=2',
            'custom_hooks.1.num_images=4',
            'custom_hooks.1.num_inference_steps=2',
        ],
    )
    folder = tmp_path / 'pipeline'
    averaged = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    pipeline = DDPMPipeline.from_pretrained(folder, use_safetensors=True)
    for key, value in pipeline.unet.state_dict().items():
        assert torch.equal(value, averaged['state_dict'][f'unet.{key}'])
    assert any(not torch.equal(averaged['ema_state_dict'][k], averaged['state_dict'][k[7:]])
               for k in averaged['ema_state_dict'] if k.startswith('module.unet'))  # fmt: skip
    assert DiffusersTeacher(str(folder), ['mid_block.resnets.1.conv2']).feature_info
    assert list(tmp_path.glob('*/vis_data/vis_image/samples*.png'))


def test_amp_without_a_gpu_is_refused_in_the_last_lines(tmp_path):
    command = ['bash', 'tools/dist_train.sh', DISTILL, '1', '--work-dir', str(tmp_path), '--amp']
    result = run(*command, check=False, CUDA_VISIBLE_DEVICES='')
    assert result.returncode == 1
    assert '--amp needs a GPU' in result.stderr.rpartition('Root Cause')[2]


@pytest.mark.parametrize('counts', [1, 4])
def test_auto_scale_lr_follows_the_images_of_an_update(digits, tmp_path, counts):
    options = [
        *SMALL,
        'model.head.in_channels=32',
        f'data_root={digits}',
        'train_dataloader.batch_size=16',
        'train_cfg.max_iters=1',
        'param_scheduler=None',
        'default_hooks.logger.interval=1',
        f'optim_wrapper.accumulative_counts={counts}',
    ]
    train('configs/baseline/r18_b64_digits_finetune.py', str(tmp_path), options, '--auto-scale-lr')
    assert rows(tmp_path, 'lr')[0] == pytest.approx(0.05 * 16 * counts / 64)
