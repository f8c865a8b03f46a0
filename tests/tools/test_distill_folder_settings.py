"""What the arguments of tools/distill_folder.py become: settings of the training, or a sentence on what is wrong."""

import json
from pathlib import Path

import pytest
import timm
import torch
from mmcls.apis.recipe import choose_policy, read_recipe
from mmcls.errors import UnusableInputError
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS
from photo_folder import COUNT, arguments, draw_photos
from processes import run_tool
from support import ROOT


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    return draw_photos(tmp_path_factory.mktemp('photos'))


def test_images_may_come_and_go_whatever_the_batch(photos, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmcls.apis.distill.run_steps', lambda *_: None)
    folder, out = tmp_path / 'few', tmp_path / 'out'
    folder.mkdir()
    names = sorted(path for path in photos.rglob('*.jpg') if path.name[0].isdigit())

    def batch(count):
        for path in folder.iterdir():
            path.unlink()
        for path in names[:count]:
            (folder / path.name).symlink_to(path)
        code, output = run_tool('distill_folder.py', *arguments(folder, out, pipeline_folder))
        assert code == 0, output
        assert len(json.loads((out / 'images.json').read_text())['data_list']) == count
        return Config.fromfile(out / 'distill.py').train_dataloader.batch_size

    assert [batch(count) for count in (10, 9, 30)] == [10, 9, 9]  # what was begun with a batch keeps it where it can


def test_more_epochs_go_on_for_longer_and_fewer_do_not(photos, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmcls.apis.distill.run_steps', lambda *_: None)
    (tmp_path / 'student').mkdir()
    (tmp_path / 'report.html').touch()

    def call(epochs):
        return run_tool('distill_folder.py', *arguments(photos, tmp_path, pipeline_folder, '--epochs', epochs))

    assert [call(3)[0], call(3)[0]] == [0, 0]
    assert (tmp_path / 'student').is_dir()
    assert (tmp_path / 'report.html').exists()
    assert call(5)[0] == 0
    assert not (tmp_path / 'student').exists()
    assert not (tmp_path / 'report.html').exists()
    config = Config.fromfile(tmp_path / 'distill.py')
    assert (config.train_cfg.max_epochs, config.param_scheduler.T_max) == (5, 5)
    code, output = call(4)
    assert (code, 'distill.py has 5, which can only become more' in output) == (1, True), output


def test_a_student_starts_from_trained_weights(photos, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmcls.apis.distill.run_steps', lambda *_: None)
    trained = timm.create_model('resnet10t').state_dict()
    torch.save(trained, tmp_path / 'resnet10t.pth')
    more = ['--student-weights', tmp_path / 'resnet10t.pth']
    code, output = run_tool('distill_folder.py', *arguments(photos, tmp_path / 'out', pipeline_folder, *more))
    assert code == 0, output
    config = Config.fromfile(tmp_path / 'out/distill.py')
    model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor})
    model.init_weights()
    found = model.student['backbone'].timm_model.state_dict()
    assert len(found) > 50
    assert all(torch.equal(found[key], trained[key]) for key in found)
    more = ['--student-weights', photos / 'notes.txt']
    code, output = run_tool('distill_folder.py', *arguments(photos, tmp_path / 'other', pipeline_folder, *more))
    assert (code, 'notes.txt is damaged' in output, 'Traceback' in output) == (1, True, False), output


@pytest.mark.parametrize('policy', ['fixed', 'reinforce'])
def test_labelled_images_measure_the_student(policy, photos, pipeline_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmcls.apis.distill.run_steps', lambda *_: None)
    labelled = tmp_path / 'labelled'
    for label, name in enumerate(('Anna B', 'Carl')):
        (labelled / name).mkdir(parents=True)
        for index in range(2):
            (labelled / name / f'{index}.jpg').write_bytes((photos / name / f'{label + 2 * index}.jpg').read_bytes())
    more = ['--policy', policy, '--val', str(labelled)]
    code, output = run_tool('distill_folder.py', *arguments(photos, tmp_path / 'out', pipeline_folder, *more))
    assert code == 0, output
    hooks = Config.fromfile(tmp_path / 'out/distill.py').custom_hooks
    expected = ['TimestepHistogramHook', 'FeaturePictureHook'] if policy == 'reinforce' else []
    assert [hook.type for hook in hooks] == [*expected, 'StudentQualityHook']
    assert hooks[-1].folder == str(labelled)


@pytest.mark.parametrize('classes', [True, False])
def test_a_policy_is_rewarded_by_classes_or_by_agreement(photos, pipeline_folder, tmp_path, classes, monkeypatch):
    monkeypatch.setattr('mmcls.apis.distill.run_steps', lambda *_: None)
    more = ['--policy', 'reinforce', *(['--subfolders-are-classes'] if classes else [])]
    code, output = run_tool('distill_folder.py', *arguments(photos, tmp_path, pipeline_folder, *more))
    assert code == 0, output
    config = Config.fromfile(tmp_path / 'distill.py')
    model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor})
    assert type(model.task_head).__name__ == ('PooledMLPHead' if classes else 'ViewAgreementHead')
    model.timestep_policy.set_progress(1.0)
    assert model.timestep_policy.entropy_weight > 0  # a reward that says nothing then leaves the policy uniform
    if classes:
        assert config.model.task_head.num_classes == 2
        images = json.loads((tmp_path / 'images.json').read_text())
        assert images['metainfo'] == {'classes': ['Anna B', 'Carl']}
        assert images['data_list'][0] == {'img_path': 'Anna B/0.jpg', 'gt_label': 0}
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset) == COUNT
    batch = [dataset[i] for i in range(4)]
    losses = model(**model.data_preprocessor({key: [s[key] for s in batch] for key in batch[0]}, True), mode='loss')
    assert all(torch.isfinite(value).all() for value in losses.values())


BASE = ROOT / 'classification_distill/configs/_base_'
RECIPE = """model = dict(
    teacher=dict(layers=['down_blocks.1.resnets.0', 'mid_block.resnets.0'], noise='none'),
    timestep_policy=dict(type='UniformPolicy', timesteps=[20, 60]),
    distill_loss=[dict(type='ATLoss'), dict(type='HintLoss', norm='l1')],
    standardizer=dict())
"""


def test_a_recipe_and_settings_of_ones_own_are_written_and_train(photos, pipeline_folder, tmp_path, monkeypatch):
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(RECIPE)
    more = ['--epochs', 1, '--recipe', recipe, '--lr', 2e-3, '--seed', 7, '--views', 2]
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    code, output = run_tool('distill_folder.py', *arguments(photos, tmp_path / 'out', pipeline_folder, *more))
    assert code == 0, output[-3000:]
    written, given = Config.fromfile(tmp_path / 'out' / 'distill.py'), Config.fromfile(recipe)
    assert written.model.teacher.items() >= given.model.teacher.items()
    for part in ('timestep_policy', 'distill_loss', 'standardizer'):
        assert written.model[part] == given.model[part]
    assert (written.optim_wrapper.optimizer.lr, written.randomness.seed) == (2e-3, 7)
    assert (tmp_path / 'out' / 'student' / 'model.safetensors').is_file()


def test_a_recipe_says_how_a_teacher_is_read_and_not_which():
    whole = ROOT / 'classification_distill/configs/cifar10few-hint/ddpm-r18_hint_recipe.py'
    assert read_recipe(whole)['teacher'].keys() == {'layers', 'noise'}


def test_a_loss_of_every_layer_and_a_timestep_in_a_recipes_place():
    model = {'type': 'UniformPolicy', 'timesteps': [20, 60]}
    assert choose_policy(model, None, None, 1000) == model
    assert choose_policy(model, None, 30, 1000) == {'type': 'FixedPolicy', 'timestep': 30}
    assert choose_policy({'type': 'FixedPolicy', 'timestep': 60}, None, None, 500)['timestep'] == 30
    assert choose_policy({'type': 'FixedPolicy', 'timestep': 60}, 'uniform', None, 1000) == {'type': 'UniformPolicy'}
    for wrong in (('uniform', 30), ('fixed', None), (None, 1000)):
        with pytest.raises(UnusableInputError, match='timestep'):
            choose_policy(model, *wrong, 1000)


@pytest.mark.parametrize(
    ('changed', 'code', 'sentence'),
    [
        ({'--teacher': '/no/such/model'}, 1, "pretrained='/no/such/model' is neither a folder here nor a model"),
        ({'--teacher': __file__}, 1, 'is not the name of a published checkpoint: say what it is by --variant'),
        (
            {'--student': 'resnet19'},
            1,
            '--student resnet19: neither timm nor MMPretrain has such a model. Near ones: res',
        ),
        ({'--student': 'tinyvit-5m_3rdparty_in1k'}, 1, 'cannot be used with images of 24x24 pixels: '),
        ({'--layers': 'mid_block.resnets.9'}, 1, "no layer 'mid_block.resnets.9'. Near ones: mid_block"),
        (
            {'--recipe': BASE / 'default_runtime.py'},
            1,
            'lacks model.teacher, model.timestep_policy',
        ),
        ({'--lr': '-1'}, 1, 'lr=-1.0: a number above 0 is needed'),
        ({'--gpus': '0'}, 1, 'gpus=0: at least 1 is needed'),
        ({'--out': None}, 1, 'would go into the folder of the images'),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else '',
)
def test_what_is_wrong_is_said_at_once(changed, code, sentence, photos, pipeline_folder, tmp_path):
    changed = [photos if value is None else value for item in changed.items() for value in item]
    found, output = run_tool('distill_folder.py', *arguments(photos, tmp_path / 'out', pipeline_folder, *changed))
    assert (found, sentence in output, 'Traceback' in output) == (code, True, False), output[-2000:]
