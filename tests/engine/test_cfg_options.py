import inspect

import pytest
from mmcls.cfg_options import parse_options
from mmcls.configs import load_config
from mmcls.engine.launch import apply_cfg_options
from mmengine.config import Config
from mmengine.runner import Runner
from support import ROOT

REPFUSION = [path for path in ROOT.glob('*/configs/**/*.py') if path.stem.endswith(('repfusion', 'repfussion'))]


@pytest.mark.parametrize('path', REPFUSION, ids=lambda path: path.stem)
def test_distilled_says_what_the_model_starts_from(path):
    config = Config.fromfile(path)
    before = config.distilled
    apply_cfg_options(config, {'distilled': 'another.pth'})
    assert config.distilled == 'another.pth'
    assert 'another.pth' in str(config.model.to_dict())
    assert before not in str(config.model.to_dict())


def test_a_student_for_a_model_that_starts_from_none_is_refused():
    config = Config.fromfile(ROOT / 'classification_distill/configs/baseline/r18_b64_digits_finetune.py')
    with pytest.raises(ValueError, match=r'distilled=student\.pth: the model of this config starts from no student'):
        apply_cfg_options(config, {'distilled': 'student.pth'})


def test_a_student_is_refused_where_another_setting_of_the_model_is_none():
    config = Config({'model': {'type': 'ImageClassifier', 'neck': None}})
    with pytest.raises(ValueError, match='starts from no student'):
        apply_cfg_options(config, {'distilled': 'student.pth'})


@pytest.mark.parametrize('option', ['val_dataloader.batch_size', 'param_scheduler.7.T_max', 'custom_hooks.first.type'])
def test_a_field_of_what_has_none_is_refused(option):
    config = Config({'model': {}, 'val_dataloader': None, 'param_scheduler': [{'T_max': 1}], 'custom_hooks': []})
    with pytest.raises(ValueError, match=rf'--cfg-options {option}=1: the config has no place for it'):
        apply_cfg_options(config, {option: 1})


def test_what_is_deleted_makes_room_for_the_rest_in_any_order():
    config = Config({'model': {'head': {'type': 'Old', 'width': 1}}})
    apply_cfg_options(config, {'model.head.type': 'New', 'model.head._delete_': True, 'model.head.depth': 2})
    assert config.model.head == {'type': 'New', 'depth': 2}


def test_a_setting_named_by_its_field_comes_first():
    config = Config.fromfile(ROOT / 'classification_distill/configs/baseline/r18_b64_digits_finetune_repfusion.py')
    apply_cfg_options(config, {'model.backbone.init_cfg.checkpoint': 'field.pth', 'distilled': 'variable.pth'})
    assert config.model.backbone.init_cfg.checkpoint == 'field.pth'


def test_a_part_of_another_type_leaves_nothing_of_the_old():
    config = Config.fromfile(ROOT / 'classification_distill/configs/digits-hint/ddpm-r18_hint.py')
    apply_cfg_options(config, {'model.timestep_policy._delete_': True, 'model.timestep_policy.type': 'UniformPolicy'})
    assert config.model.timestep_policy == {'type': 'UniformPolicy'}


@pytest.mark.parametrize('value', ["dict(type='UniformPolicy')", "{'type': 'UniformPolicy'}"])
def test_a_dict_is_refused(value):
    with pytest.raises(ValueError, match=r'model\.timestep_policy\.type=NAME'):
        apply_cfg_options(Config({}), {'model.timestep_policy': value})


def test_a_dict_in_a_list_is_refused():
    options = parse_options(["custom_hooks=[{'type':'EMAHook','momentum':0.1}]"])
    with pytest.raises(ValueError, match=r'custom_hooks\.0\.type=NAME.* _base_'):
        apply_cfg_options(Config({}), options)


@pytest.mark.parametrize(('text', 'value'), [
    ('work_dirs/my run/epoch_1.pth', 'work_dirs/my run/epoch_1.pth'),
    ('1e-3', 0.001), ('7', 7), ('None', None), ('none', 'none'), ('True', True), ('false', False), ('', ''),
    ('1,2', [1, 2]), ('[1,2]', [1, 2]), ('(1, 2)', (1, 2)), ('[(1,2),[a, b c],d]', [(1, 2), ['a', 'b c'], 'd']),
    ('[]', []), ("'1,2'", '1,2'), ('"it\'s"', "it's"), ('a=b', 'a=b'),
    ("{'type': 'A', 'b': 1}", "{'type': 'A', 'b': 1}"),
    ("dict(type='A', b=1)", "dict(type='A', b=1)"), ('müller, jr.pth', ['müller', 'jr.pth']),
])  # fmt: skip
def test_values_arrive_as_typed(text, value):
    assert parse_options([f'a.b={text}']) == {'a.b': value}


def test_an_option_without_a_value_is_refused():
    with pytest.raises(ValueError, match='--cfg-options lr: expected KEY=VALUE'):
        parse_options(['lr'])


GRANDPARENT = """
data_root = 'data/one'
width = 24
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline), batch_size=8)
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline), batch_size=8)
model = dict(backbone=dict(base_channels=width))
"""


@pytest.fixture
def grandparent(tmp_path):
    (tmp_path / 'grandparent.py').write_text(GRANDPARENT)
    return tmp_path


def test_a_variable_set_in_a_child_or_grandchild_takes_effect(grandparent):
    (grandparent / 'parent.py').write_text("_base_ = ['grandparent.py']\ndata_root = 'data/two'\n")
    (grandparent / 'child.py').write_text("_base_ = 'parent.py'\npipeline = [dict(type='PackInputs')]\n")
    assert load_config(grandparent / 'parent.py').train_dataloader.dataset.data_root == 'data/two'
    for split in ('train', 'val'):
        dataset = load_config(grandparent / 'child.py')[f'{split}_dataloader'].dataset
        assert dataset == {'data_root': 'data/two', 'pipeline': [{'type': 'PackInputs'}]}


def test_what_a_child_sets_by_its_field_stays(grandparent):
    (grandparent / 'child.py').write_text(
        "_base_ = 'grandparent.py'\ndata_root = 'data/two'\n"
        "train_dataloader = dict(dataset=dict(data_root='data/three'))\n"
    )
    config = load_config(grandparent / 'child.py')
    assert config.train_dataloader.dataset.data_root == 'data/three'
    assert config.val_dataloader.dataset.data_root == 'data/two'


def test_a_variable_set_on_the_command_line_takes_effect(grandparent):
    config = load_config(grandparent / 'grandparent.py')
    apply_cfg_options(config, {'data_root': 'data/two', 'val_dataloader.dataset.data_root': 'data/three'})
    assert config.train_dataloader.dataset.data_root == 'data/two'
    assert config.val_dataloader.dataset.data_root == 'data/three'


PARTS = """
norm_cfg = dict(type='BN', eps=1e-5)
dataset = dict(type='ImagesInMemory', dataset=dict(ann_file='train.txt'))
pipeline = [dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
model = dict(backbone=dict(norm_cfg=norm_cfg), head=dict(norm_cfg=norm_cfg))
train_dataloader = dict(dataset=dict(dataset, pipeline=pipeline))
"""


def test_a_part_of_a_variable_takes_effect_or_is_refused_where_it_was_copied(tmp_path):
    (tmp_path / 'config.py').write_text(PARTS)
    config = load_config(tmp_path / 'config.py')
    apply_cfg_options(config, {'norm_cfg.type': 'SyncBN', 'pipeline.0.prob': 0.0, 'model.head.norm_cfg.eps': 1})
    assert config.model.backbone.norm_cfg == {'type': 'SyncBN', 'eps': 1e-5}
    assert config.model.head.norm_cfg == {'type': 'SyncBN', 'eps': 1}
    assert config.train_dataloader.dataset.pipeline == [{'type': 'RandomFlip', 'prob': 0.0}, {'type': 'PackInputs'}]
    message = r'copied into train_dataloader\.dataset when .*: train_dataloader\.dataset\.dataset\.ann_file=few\.txt'
    with pytest.raises(ValueError, match=message):
        apply_cfg_options(config, {'dataset.dataset.ann_file': 'few.txt'})


def test_a_number_is_refused_with_the_fields(grandparent):
    config = load_config(grandparent / 'grandparent.py')
    with pytest.raises(ValueError, match=r'width=48: width is a variable, .* model\.backbone\.base_channels'):
        apply_cfg_options(config, {'width': 48})
    (grandparent / 'child.py').write_text("_base_ = 'grandparent.py'\nwidth = 48\n")
    with pytest.raises(ValueError, match=r'width=48'):
        load_config(grandparent / 'child.py')


@pytest.mark.parametrize('path', sorted(ROOT.glob('*/configs/**/*.py')), ids=lambda path: str(path.relative_to(ROOT)))
def test_our_own_configs_mean_what_mmengine_reads(path):
    ours, theirs = load_config(path), Config.fromfile(path)
    for name in inspect.signature(Runner).parameters:
        assert ours.get(name) == theirs.get(name)
