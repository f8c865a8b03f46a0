import mmcv
import numpy as np
import pytest
from mmcls.apis.probe import fit_probes
from mmcls.apis.probe_configs import _read_folder, write_snippet
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from processes import run_tool
from support import door
from test_train import DISTILL, TREE

DATA = 'configs/_base_/datasets/digits_b64.py'


@pytest.fixture
def configs(digits, pipeline_folder, tmp_path) -> tuple[str, str]:
    teacher, data = tmp_path / 'teacher.py', tmp_path / 'data.py'
    teacher.write_text(
        f"_base_ = '{TREE / DISTILL}'\nmodel = dict(teacher=dict(pretrained='{pipeline_folder}', noise='forward'))\n"
    )
    root = f"dataset=dict(dataset=dict(data_root='{digits}'))"
    data.write_text(f"_base_ = '{TREE / DATA}'\ntrain_dataloader = dict({root})\nval_dataloader = dict({root})\n")
    return str(teacher), str(data)


def run_probe(configs, out, *arguments):
    return run_tool('probe.py', *configs, '--train', 60, '--test', 50, '--out', out, *arguments)


def test_a_resumed_probe_gives_the_table_of_an_uninterrupted_one(configs, tmp_path):
    steps = ('--timesteps', '0', '500', '900')
    code, output = run_probe(configs, tmp_path / 'whole', *steps)
    assert code == 0, output
    whole = (tmp_path / 'whole/probe.csv').read_text()
    lines = whole.splitlines()
    layers = {line.split(',')[0] for line in lines[1:]}
    assert {'down_blocks.0.resnets.0', 'mid_block.resnets.1', 'up_blocks.1.resnets.1'} <= layers
    assert len(lines) == 1 + 3 * len(layers)
    assert (tmp_path / 'whole/probe.png').stat().st_size > 5000

    (tmp_path / 'whole/probe.csv').write_text('\n'.join([*lines[: 1 + len(layers)], '']))
    assert run_probe(configs, tmp_path / 'whole', *steps)[0] == 0
    assert (tmp_path / 'whole/probe.csv').read_text() == whole

    code, other = run_probe(configs, tmp_path / 'whole', '--timesteps', '0')
    assert (code, 'other settings (timesteps)' in other) == (2, True), other

    snippet = (tmp_path / 'whole/best.py').read_text()
    assert snippet in output
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = '{configs[0]}'\n{snippet}")
    model = MODELS.build(Config.fromfile(child).model)
    best = max(lines[1:], key=lambda line: float(line.split(',')[4])).split(',')
    assert model.teacher.layers == (best[0],)
    assert model.timestep_policy.timestep == int(best[1])


def test_images_are_decoded_once_and_not_at_all_when_nothing_is_to_do(configs, tmp_path, monkeypatch):
    decoded, decode = [], mmcv.imfrombytes
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda content, **options: decoded.append(1) or decode(content, **options))
    out = tmp_path / 'out'
    layers = ('--layers', 'mid_block.resnets.0', '--timesteps', '0', '500', '900')
    arguments = (*configs, '--train', '60', '--test', '50', '--out', str(out), *layers)
    door('probe', *arguments)
    assert len(decoded) == 60 + 50
    table = (out / 'probe.csv').read_text()
    door('probe', *arguments)
    assert len(decoded) == 60 + 50
    lines = table.splitlines()
    (out / 'probe.csv').write_text('\n'.join([*lines[:3], '']))
    door('probe', *arguments)
    assert len(decoded) == 2 * (60 + 50)
    assert (out / 'probe.csv').read_text() == table


def test_wrapped_data_sets_are_read_as_those_in_them(configs, tmp_path):
    config = Config.fromfile(configs[1])
    for split in ('train', 'val'):
        loader = config[f'{split}_dataloader']
        balanced = {'type': 'ClassBalancedDataset', 'oversample_thr': 0.0, 'dataset': loader.dataset.dataset.to_dict()}
        repeated = {'type': 'RepeatDataset', 'times': 1, 'dataset': balanced}
        loader.dataset = {'type': 'ConcatDataset', 'datasets': [repeated]}
    config.dump(tmp_path / 'wrapped.py')
    arguments = ('--layers', 'mid_block.resnets.0', '--timesteps', '500')
    assert run_probe(configs, tmp_path / 'plain', *arguments)[0] == 0
    assert run_probe((configs[0], tmp_path / 'wrapped.py'), tmp_path / 'wrapped', *arguments)[0] == 0
    assert (tmp_path / 'wrapped/probe.csv').read_text() == (tmp_path / 'plain/probe.csv').read_text()


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--timesteps', '1000'), 'expected 0 to 999'),
    (('--layers', 'mid_block.resnet.0'), 'Near ones: mid_block.resnets.0'),
])  # fmt: skip
def test_what_cannot_be_probed_is_refused(configs, tmp_path, arguments, message):
    code, output = run_probe(configs, tmp_path / 'out', *arguments)
    assert (code, message in output) == (2, True), output
    assert not (tmp_path / 'out').exists()


def test_data_that_are_not_there_are_named(pipeline_folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        door('probe', pipeline_folder, tmp_path / 'few')
    assert 'There is neither a folder nor a config' in capsys.readouterr().err


def test_probes_find_what_is_there_and_nothing_else():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 50)
    telling = random.normal(size=(200, 8)) + 4 * np.eye(8)[labels]
    probes = fit_probes(telling[::2], labels[::2])
    assert min(probe.score(telling[1::2], labels[1::2]) for probe in probes) > 0.9
    nothing = random.normal(size=(200, 8))
    probes = fit_probes(nothing[::2], labels[::2])
    assert max(probe.score(nothing[1::2], labels[1::2]) for probe in probes) < 0.45


def test_a_pipeline_and_a_folder_of_classes(pipeline_folder, tmp_path, capsys):
    for name, level in (('bright', 220), ('dark', 30)):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for index in range(8):
            image = Image.new('L', (12, 10), level + index)
            image.save(tmp_path / 'photos' / name / f'{index}.png')
    arguments = ('--layers', 'mid_block.resnets.0', '--timesteps', '0', '500')
    door('probe', pipeline_folder, tmp_path / 'photos', *arguments, '--out', tmp_path / 'out')
    assert 'Linear probe 100.0 % (standard error 0.0) on 4 images that did not choose it' in capsys.readouterr().out
    assert len((tmp_path / 'out/probe.csv').read_text().splitlines()) == 1 + 2
    Image.new('L', (12, 10), 40).save(tmp_path / 'photos/dark/8.png')
    with pytest.raises(SystemExit):  # what was measured is not of these images
        door('probe', pipeline_folder, tmp_path / 'photos', *arguments, '--out', tmp_path / 'out')
    assert 'holds a probe with other settings (images)' in capsys.readouterr().err


def test_half_of_each_class_is_for_testing(tmp_path):
    for name in 'abcdefghij':
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.new('L', (4, 4)).save(tmp_path / name / f'{index}.png')
    splits, classes = _read_folder(tmp_path, 4, 100, 100)
    assert [labels.tolist() for _, labels in splits] == [list(range(10))] * 2
    assert len(classes) == 10


def test_the_best_cell_is_judged_by_images_that_did_not_choose_it(tmp_path):
    cells = [{'layer': 'a', 'timestep': 0, 'linear': 90.0, 'held_out': 75.0}]
    cells += [{'layer': 'b', 'timestep': 0, 'linear': 80.0, 'held_out': 85.0}]
    text = write_snippet(cells, 75, tmp_path / 'best.py')
    assert "layers=['a']" in text
    assert 'Linear probe 75.0 % (standard error 5.0) on 75 images' in text
