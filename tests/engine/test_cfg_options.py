import pytest
from mmcls.engine.launch import apply_cfg_options
from mmengine.config import Config
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
