import json
import pickle
from pathlib import Path

import pytest
import torch
from adm_reference import PUBLISHED, ReferenceADM
from diffusers import DDPMScheduler
from mmcls.errors import RepFusionError
from mmcls.models.guided_diffusion import VARIANTS, build_unet, choose_variant, get_variant, load_guided_diffusion
from mmcls.models.teachers.adm_teacher import ADMTeacher
from mmcls.models.teachers.diffusers_teacher import DiffusersTeacher, UNetTeacher
from processes import run_tool
from torch.utils.flop_counter import FlopCounterMode

COMMAND = 'convert_guided_diffusion.py'
MIDDLE = 'mid_block.resnets.1.conv2'

TINY = {
    'new order': {'image_size': 16, 'channel_mult': (1, 2), 'use_new_attention_order': True},
    'legacy order': {'image_size': 16, 'channel_mult': (1, 2)},
    'unconditional': {'image_size': 16, 'channel_mult': (1, 2), 'class_cond': False},
    '128 px: fixed number of heads': {'image_size': 32, 'channel_mult': (1, 2, 3), 'num_heads': 4},
    '512 px: half width first': {'image_size': 64, 'channel_mult': (0.5, 1, 1, 2), 'num_channels': 64},
}


def tiny_flags(name):
    defaults = {'num_channels': 32, 'num_res_blocks': 1, 'attention_resolutions': (8, 16)}
    defaults['num_head_channels'] = -1 if 'num_heads' in TINY[name] else 16
    return defaults | TINY[name]


def reference(flags):
    flags = {'class_cond': True} | flags
    if flags['num_head_channels'] == -1:
        del flags['num_head_channels']
    flags['new_attention_order'] = flags.pop('use_new_attention_order', False)
    network = ReferenceADM(**flags)
    for parameter in network.parameters():  # norms start as ones and zeros: swapped ones would go unseen
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def save_tiny(name, folder) -> tuple[str, dict]:
    flags = tiny_flags(name)
    path = folder / 'tiny.pt'
    torch.save(reference(flags).state_dict(), path)
    return str(path), flags


@pytest.mark.parametrize('name', TINY)
def test_conversion_is_the_same_function(name, tmp_path):
    flags = tiny_flags(name)
    network = reference(flags)
    torch.save(network.state_dict(), tmp_path / 'tiny.pt')
    unet = load_guided_diffusion(tmp_path / 'tiny.pt', flags).unet.double()
    size = flags['image_size']
    images, t = torch.randn(3, 3, size, size, dtype=torch.float64), torch.tensor([0, 400, 999])
    classes = torch.tensor([0, 5, 999]) if network.label_emb is not None else None
    middle = []
    for module in (network.middle_block, unet.mid_block):
        module.register_forward_hook(lambda m, a, out: middle.append(out))
    with torch.no_grad():
        expected, converted = network.double()(images, t, classes), unet(images, t, classes).sample
    assert expected.abs().mean() > 0.1
    assert torch.allclose(*middle, rtol=0, atol=1e-11)
    assert torch.allclose(converted, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(('name', 'parameters', 'gflops'), [
    ('64', 295_904_454, (219.4, 62.6)),
    ('128', 421_529_606, None),
    ('256', 553_838_086, None),
    ('256-uncond', 552_814_086, (2239.7, 580.3)),
    ('512', 558_997_638, None),
])  # fmt: skip
def test_published_sizes(name, parameters, gflops):
    """At full size: tensors, parameters, and the work of the whole network and up to the tapped layer."""
    unet = build_unet(VARIANTS[name])
    with torch.device('meta'):
        network = ReferenceADM(**PUBLISHED[name])
    assert unet.num_parameters() == parameters == sum(p.numel() for p in network.parameters())
    if gflops is None:
        return
    size = VARIANTS[name].image_size
    images, t = torch.zeros(1, 3, size, size, device='meta'), torch.zeros(1, dtype=torch.int64, device='meta')
    with FlopCounterMode(display=False) as whole, torch.no_grad():
        unet(images, t, t if VARIANTS[name].class_cond else None)
    teacher = UNetTeacher(unet, DDPMScheduler(**VARIANTS[name].scheduler_config()), [MIDDLE])
    with FlopCounterMode(display=False) as early:
        teacher(images, t)
    assert whole.get_total_flops() / 1e9 == pytest.approx(gflops[0], rel=1e-3)
    assert early.get_total_flops() / 1e9 <= 1.02 * gflops[1]


@pytest.mark.parametrize(
    'name', ['new order', 'legacy order', '128 px: fixed number of heads', '512 px: half width first']
)
def test_a_saved_folder_is_the_same_teacher(name, tmp_path):
    checkpoint, flags = save_tiny(name, tmp_path)
    load_guided_diffusion(checkpoint, flags).save_pretrained(tmp_path / 'folder')
    assert_same_teacher(checkpoint, flags, tmp_path / 'folder')


def assert_same_teacher(checkpoint, flags, folder):
    size = flags['image_size']
    images, t = torch.rand(2, 3, size, size) * 2 - 1, torch.tensor([0, 999])
    expected = ADMTeacher(checkpoint, flags)(images, t)[MIDDLE]
    assert torch.equal(DiffusersTeacher(str(folder))(images, t)[MIDDLE], expected)


def test_the_command_converts_once(tmp_path):
    checkpoint, flags = save_tiny('unconditional', tmp_path)
    (tmp_path / 'flags.json').write_text(json.dumps(flags))
    command = (COMMAND, checkpoint, tmp_path / 'folder', '--variant', tmp_path / 'flags.json')
    code, output = run_tool(*command)
    assert code == 0, output
    assert_same_teacher(checkpoint, flags, tmp_path / 'folder')
    code, output = run_tool(*command)
    assert (code, 'exists' in output) == (2, True), output


def test_a_wrong_variant_is_refused_and_the_right_one_named(tmp_path, monkeypatch):
    checkpoint, flags = save_tiny('unconditional', tmp_path)
    monkeypatch.setitem(VARIANTS, 'small', get_variant(flags))
    with pytest.raises(
        ValueError, match=r"holds [\d,]+ parameters, expected 295,904,454; it is one of variant 'small'"
    ):
        ADMTeacher(checkpoint, '64')
    with pytest.raises(ValueError, match=r"variant='65' is none of '64', '128'"):
        ADMTeacher(checkpoint, '65')
    with pytest.raises(ValueError, match=r'Flags are: image_size, num_channels'):
        ADMTeacher(checkpoint, flags | {'num_layers': 3})


def test_equal_count_but_other_tensors_are_refused(tmp_path):
    checkpoint, flags = save_tiny('unconditional', tmp_path)
    weights = torch.load(checkpoint)
    weights['out.3.bias'] = weights.pop('out.2.bias')
    torch.save(weights, checkpoint)
    with pytest.raises(ValueError, match=r'lacks the tensors of conv_out\.bias'):
        ADMTeacher(checkpoint, flags)
    weights['out.2.bias'] = weights.pop('out.3.bias')
    weights['time_embed.0.weight'] = weights['time_embed.0.weight'].T
    torch.save(weights, checkpoint)
    with pytest.raises(ValueError, match=r'time_embedding\.linear_1\.weight is \(32, 128\), expected \(128, 32\)'):
        ADMTeacher(checkpoint, flags)


class Malicious:
    """Would write a file when unpickled."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return (Path.touch, (self.proof,))


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    checkpoint, flags = save_tiny('unconditional', tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no file'):
        ADMTeacher(str(tmp_path / 'absent.pt'), flags)
    whole = Path(checkpoint).read_bytes()
    for damaged in (whole[: len(whole) // 2], b''):
        Path(checkpoint).write_bytes(damaged)
        with pytest.raises(ValueError, match=r'damaged'):
            ADMTeacher(checkpoint, flags)
    proof = tmp_path / 'executed'
    for save in (torch.save, lambda value, file: file.write(pickle.dumps(value))):
        with open(checkpoint, 'wb') as file:
            save({'out.2.bias': Malicious(proof)}, file)
        with pytest.raises(ValueError, match=r'nothing in it was run'):
            ADMTeacher(checkpoint, flags)
        assert not proof.exists()
    torch.save([1, 2], checkpoint)
    with pytest.raises(ValueError, match=r'not a dict of tensors'):
        ADMTeacher(checkpoint, flags)


def test_the_command_leaves_nothing_half_written(tmp_path):
    checkpoint, _ = save_tiny('unconditional', tmp_path)
    code, output = run_tool(COMMAND, checkpoint, tmp_path / 'out', '--variant', '64')
    assert (code, 'expected 295,904,454' in output) == (2, True), output
    assert sorted(path.name for path in tmp_path.iterdir()) == ['tiny.pt']


def test_flags_as_guided_diffusion_spells_them_and_as_json_does():
    flags = {'image_size': 64, 'num_channels': 32, 'num_res_blocks': 2, 'class_cond': False}
    expected = get_variant(flags | {'channel_mult': (1, 2), 'attention_resolutions': (32, 16)})
    lists = {'channel_mult': [1, 2], 'attention_resolutions': [32, 16]}
    spelt = {'image_size': '64', 'class_cond': 'False', 'channel_mult': '1,2', 'attention_resolutions': '32, 16'}
    assert get_variant(flags | lists) == get_variant(flags | spelt) == expected
    assert get_variant(flags | {'channel_mult': '0.5,1'}).channel_mult == (0.5, 1)
    assert get_variant(flags | {'channel_mult': '', 'attention_resolutions': '16', 'num_head_channels': '-1'}) == (
        get_variant(flags | {'channel_mult': (1, 2, 3, 4), 'attention_resolutions': (16,), 'num_heads': 4})
    )
    heads = {'channel_mult': '1,2', 'num_head_channels': 16}  # which guided-diffusion looks at first
    assert get_variant(flags | heads | {'num_heads': 4}) == get_variant(flags | heads)
    for wrong in ({'channel_mult': '1,two'}, {'num_channels': 'many'}, {'dropout': 0.1}, {'image_size': 65}):
        with pytest.raises(RepFusionError, match=next(iter(wrong))):
            get_variant(flags | {'channel_mult': ''} | wrong)


@pytest.mark.parametrize(
    ('text', 'sentence'), [(None, 'there is no such file'), ('{', 'is no JSON'), ('[]', 'expected an object')]
)
def test_files_of_flags_that_are_none(tmp_path, text, sentence):
    if text:
        (tmp_path / 'flags.json').write_text(text)
    with pytest.raises(RepFusionError, match=f'flags.json.*{sentence}'):
        choose_variant(tmp_path / 'model.pt', str(tmp_path / 'flags.json'))
