"""EDM: read from NVlabs' pickles and OpenAI's checkpoints, which are data, at Karras's noise levels."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from adm_reference import ReferenceADM
from edm_reference import DhariwalUNet, EDMPrecond, Linear, save
from mmcls.apis.teacher import describe_teacher, load_teacher
from mmcls.errors import RepFusionError
from mmcls.models.guided_diffusion import ADMVariant, build_unet, edm
from mmcls.models.teachers import EDMTeacher
from mmcls.module_pickles import load_module_pickle
from small_distillation import TRAINED, changed_by_a_resumed_step
from support import ROOT
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LAYERS = ['down_blocks.1.attentions.0', 'mid_block.resnets.1', 'up_blocks.0.upsamplers.0', 'up_blocks.1.resnets.1']
REFERENCE = [
    f'model.{name}' for name in ('enc.4x4_block0', 'dec.4x4_in1', 'dec.8x8_up', 'dec.8x8_block1')
]  # the same places
FLAGS = {'image_size': 8, 'num_channels': 128, 'num_res_blocks': 1, 'channel_mult': (1, 1),
         'attention_resolutions': (4,), 'num_classes': 10}  # fmt: skip


@pytest.fixture(scope='module')
def network() -> EDMPrecond:
    torch.manual_seed(0)
    return EDMPrecond(DhariwalUNet(8, mult=(1, 2))).eval()


@pytest.fixture
def pickled(network, tmp_path) -> Path:
    save(tmp_path / 'edm.pkl', network)
    return tmp_path / 'edm.pkl'


def outputs(network: nn.Module, layers: list[str], *inputs) -> list[torch.Tensor]:
    seen = {}
    handles = [
        network.get_submodule(layer).register_forward_hook(lambda m, a, out, layer=layer: seen.update({layer: out}))
        for layer in layers
    ]
    with torch.no_grad():
        network(*inputs)
    for handle in handles:
        handle.remove()
    return [seen[layer] for layer in layers]


def levels(t: torch.Tensor) -> torch.Tensor:
    """The paper's Eq. 5, whose steps go down from sigma_max."""
    i, last = 999 - t.double(), 999
    return ((80 ** (1 / 7) + i / last * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7).float()


def test_a_pickle_is_read_as_its_own_network_computes(network, pickled):
    teacher = EDMTeacher(str(pickled), LAYERS, noise='forward', class_labels=3)
    assert teacher.num_timesteps == 1000
    images, t = torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 10, 500, 999])
    torch.manual_seed(1)
    features = teacher(images, t)
    torch.manual_seed(1)
    sigma = levels(t)
    noised = images + sigma.view(-1, 1, 1, 1) * torch.randn_like(images)
    expected = outputs(network, REFERENCE, noised, sigma, torch.eye(10)[[3] * 4])
    for feature, truth in zip(features.values(), expected, strict=True):
        assert feature.isfinite().all()
        assert truth.std() > 0.1
        assert (feature - truth).abs().max() < 1e-5 * truth.abs().max()
    assert (sigma[0], sigma[3]) == (pytest.approx(0.002), pytest.approx(80))


def test_the_mean_of_all_classes_and_no_classes(tmp_path):
    network = EDMPrecond(DhariwalUNet(8))
    save(tmp_path / 'edm.pkl', network)
    table = network.model.map_label.weight.T
    teacher = EDMTeacher(str(tmp_path / 'edm.pkl'))
    assert torch.allclose(teacher.network.class_embedding.weight[10], table.mean(0), atol=1e-6)
    save(tmp_path / 'edm.pkl', EDMPrecond(DhariwalUNet(8, classes=0)))
    assert EDMTeacher(str(tmp_path / 'edm.pkl')).class_conditioning.num_classes == 0


def openai_tensors(classes=True) -> tuple[ReferenceADM, dict]:
    torch.manual_seed(0)
    settings = FLAGS | {'class_cond': classes, 'num_head_channels': 64, 'new_attention_order': True}
    network = ReferenceADM(**settings).eval()
    tensors = {k: v[:3] if k.startswith('out.2') else v for k, v in network.state_dict().items()}
    # Their attention's convolutions are two-dimensional, guided-diffusion's are not.
    return network, {k: v[..., None] if '.qkv.w' in k or '.proj_out.w' in k else v for k, v in tensors.items()}


def test_openais_checkpoints_are_told_a_thousand_times_as_much(tmp_path):
    network, tensors = openai_tensors()
    torch.save(tensors, tmp_path / 'own.pt')
    teacher = EDMTeacher(str(tmp_path / 'own.pt'), ['mid_block.resnets.1'], FLAGS, class_labels=3)
    images, t = torch.rand(3, 3, 8, 8) * 2 - 1, torch.tensor([0, 500, 999])
    sigma = levels(t)
    scale = (sigma**2 + 0.25).rsqrt().view(-1, 1, 1, 1)
    (expected,) = outputs(network, ['middle_block'], scale * images, 250 * sigma.log(), torch.tensor([3] * 3))
    (feature,) = teacher(images, t).values()
    assert (feature - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(('stem', 'parameters', 'info', 'kept', 'gflop'), [
    ('edm_imagenet64_ema', 295_899_267, (768, 8), 118, 63),
    ('edm_bedroom256_ema', 526_304_771, (1024, 32), 199, 580),
])  # fmt: skip
def test_published_sizes(stem, parameters, info, kept, gflop, monkeypatch):
    """Those of consistency models, too, which have the same networks."""
    unet = build_unet(ADMVariant(**edm.PUBLISHED[stem], **edm._ALWAYS))
    assert unet.num_parameters() == parameters
    monkeypatch.setattr('mmcls.models.teachers.edm_teacher.load_openai_edm', lambda *args: unet)
    teacher = EDMTeacher(f'{stem}.pt')
    assert list(teacher.feature_info.values()) == [info]
    assert sum(p.numel() for p in teacher.network.parameters()) / 1e6 == pytest.approx(kept, rel=0.01)
    images = torch.zeros(1, 3, *teacher.sample_size, device='meta')
    with FlopCounterMode(display=False) as counter:
        teacher.to('meta')(images, torch.zeros(1, dtype=torch.int64, device='meta'))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, rel=0.02)


def test_which_files_are_of_edm(tmp_path, monkeypatch):
    pickled = tmp_path / 'edm.pkl'
    save(pickled, EDMPrecond(DhariwalUNet(8)))
    assert describe_teacher(str(pickled)) == {'type': 'EDMTeacher', 'checkpoint': str(pickled)}
    assert isinstance(load_teacher(pickled), EDMTeacher)
    torch.save(openai_tensors()[1], tmp_path / 'edm_imagenet64_ema.pt')
    monkeypatch.setitem(edm.PUBLISHED, 'edm_imagenet64_ema', FLAGS)
    assert isinstance(load_teacher(tmp_path / 'edm_imagenet64_ema.pt'), EDMTeacher)
    (tmp_path / 'edm_imagenet64_ema.pt').rename(tmp_path / 'other.pt')
    with pytest.raises(RepFusionError, match=r'neither a \.pkl of NVlabs nor named as one of edm_imagenet64_ema\.pt'):
        EDMTeacher(str(tmp_path / 'other.pt'))
    with pytest.raises(RepFusionError, match=r'holds [\d,]+ parameters, expected'):
        EDMTeacher(str(tmp_path / 'other.pt'), variant=FLAGS | {'num_classes': 9})


@pytest.mark.parametrize(('kinds', 'message'), [
    (('EDMPrecond', 'SongUNet'), r'holds a EDMPrecond of a SongUNet\. Only an EDMPrecond of a DhariwalUNet is read'),
    (('iDDPMPrecond', 'DhariwalUNet'), 'holds a iDDPMPrecond of a DhariwalUNet'),
    (('Precond', 'UNet'), 'holds a Precond of a UNet'),  # EDM2
])  # fmt: skip
def test_other_networks_of_nvlabs_are_refused(kinds, message, tmp_path):
    save(tmp_path / 'edm.pkl', EDMPrecond(Linear(2, 2, kind=kinds[1]), kind=kinds[0]))
    with pytest.raises(RepFusionError, match=message):
        EDMTeacher(str(tmp_path / 'edm.pkl'))


def test_narrow_networks_and_files_without_an_average_are_refused(tmp_path):
    save(tmp_path / 'edm.pkl', EDMPrecond(DhariwalUNet(8, width=64)))
    with pytest.raises(RepFusionError, match='is 64 channels wide, expected 128 or more'):
        EDMTeacher(str(tmp_path / 'edm.pkl'))
    for content in ({'net': {}}, {'ema': {}}, [1]):
        (tmp_path / 'edm.pkl').write_bytes(pickle.dumps(content))
        with pytest.raises(RepFusionError, match=r'edm\.pkl holds (no averaged network|a None of a None)'):
            EDMTeacher(str(tmp_path / 'edm.pkl'))
    with pytest.raises(FileNotFoundError, match='There is no file'):
        EDMTeacher(str(tmp_path / 'none.pkl'))


class Call:
    """Unpickled, it would call a function."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


def test_nothing_in_a_pickle_is_run(tmp_path):
    network, mark, path = Linear(2, 2), tmp_path / 'ran', tmp_path / 'edm.pkl'
    for bad in (Call(Path.touch, mark), Call(os.system, f'touch {mark}'), Call(eval, '1'), Call(getattr, '', 'join')):
        save(path, network, loss=bad)
        with pytest.raises(RepFusionError, match=r'nothing in it was run.* is not read'):
            load_module_pickle(path)
    # A storage is itself a pickle.
    inner = Call(torch.storage._load_from_bytes, pickle.dumps(Call(Path.touch, mark), 2))
    save(path, network, loss=inner)
    with pytest.raises(RepFusionError, match='nothing in it was run'):
        load_module_pickle(path)
    assert not mark.exists()


def test_damaged_pickles_and_tensors_outside_of_their_storage_are_refused(tmp_path):
    pickled = tmp_path / 'edm.pkl'
    save(pickled, Linear(2, 2))
    whole = pickled.read_bytes()
    for damaged in (whole[: len(whole) // 2], b'', b'<html>'):
        pickled.write_bytes(damaged)
        with pytest.raises(RepFusionError, match='is damaged'):
            load_module_pickle(pickled)
    beyond = Call(torch._utils._rebuild_tensor_v2, torch.rand(2).untyped_storage(), 0, (1000,), (1,), False, {})
    save(pickled, Linear(2, 2), loss=beyond)
    with pytest.raises(RepFusionError, match='is damaged'):
        load_module_pickle(pickled)


def test_a_file_changes_no_other(tmp_path):
    """Pickles may set attributes of what they name."""
    pickled, function = tmp_path / 'edm.pkl', torch._utils._rebuild_parameter
    before = function.__defaults__
    tampering = b'ctorch._utils\n_rebuild_parameter\n' + pickle.dumps((None, {'__defaults__': (1,)}), 2)[2:-1]
    pickled.write_bytes(pickle.PROTO + b'\x02' + tampering + pickle.BUILD + pickle.STOP)
    load_module_pickle(pickled)
    assert function.__defaults__ == before


def test_a_distillation_and_its_resumption(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')
    save(tmp_path / 'edm.pkl', EDMPrecond(DhariwalUNet(8)))
    teacher = {'type': 'EDMTeacher', 'checkpoint': str(tmp_path / 'edm.pkl'), 'noise': 'forward'}
    assert changed_by_a_resumed_step(teacher, digits, tmp_path) >= TRAINED
