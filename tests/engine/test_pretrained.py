import pytest
import torch
from mmcls.engine.pretrained import PretrainedWeightsError, check_pretrained_weights
from mmengine.logging import MMLogger
from mmpretrain.registry import MODELS

PREFIX = 'student.backbone.'


def config(checkpoint, prefix=PREFIX, depth=18):
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(checkpoint), 'prefix': prefix}
    backbone = {'type': 'ResNet', 'depth': depth, 'base_channels': 8, 'stem_channels': 8, 'init_cfg': init_cfg}
    return {'model': {'type': 'ImageClassifier', 'backbone': backbone}}


@pytest.fixture
def distilled(tmp_path):
    backbone = MODELS.build({'type': 'ResNet', 'depth': 18, 'base_channels': 8, 'stem_channels': 8})
    backbone.init_weights()
    state_dict = {PREFIX + key: value for key, value in backbone.state_dict().items()}
    torch.save({'state_dict': state_dict | {'task_head.weight': torch.zeros(1)}}, tmp_path / 'distilled.pth')
    return tmp_path / 'distilled.pth'


def check(cfg, **settings):
    model = MODELS.build(cfg['model'])
    check_pretrained_weights(model, cfg, **settings)
    return model


def test_every_tensor_is_loaded(distilled, tmp_path):
    MMLogger.get_instance('pretrained', log_file=str(tmp_path / 'log'))
    model = check(config(distilled))
    assert f'backbone: 120 of 120 tensors from {distilled}' in (tmp_path / 'log').read_text()
    model.init_weights()
    saved = torch.load(distilled)['state_dict']
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, saved[PREFIX + key]), key


def test_wrong_prefix_names_those_of_the_file(distilled):
    with pytest.raises(
        PretrainedWeightsError, match=r"model\.backbone\.init_cfg\.prefix='backbone\.'.*'student\.backbone\.'"
    ):
        check(config(distilled, prefix='backbone.'))


def test_empty_path(distilled):
    with pytest.raises(PretrainedWeightsError, match=r'model\.backbone\.init_cfg\.checkpoint is empty'):
        check(config(''))


def test_missing_file(tmp_path):
    with pytest.raises(PretrainedWeightsError, match=r'does not exist.*The training that.*--cfg-options model'):
        check(config(tmp_path / 'none' / 'epoch_200.pth'))


def test_a_missing_file_beside_others(distilled):
    with pytest.raises(PretrainedWeightsError, match=r'does not exist.*Its folder holds distilled\.pth'):
        check(config(distilled.with_name('epoch_200.pth')))


def test_a_teachers_folder(pipeline_folder):
    with pytest.raises(PretrainedWeightsError, match='is a folder'):
        check(config(pipeline_folder))


def test_a_teachers_weights(tmp_path, pipeline_folder):
    from safetensors.torch import load_file

    weights = load_file(f'{pipeline_folder}/unet/diffusion_pytorch_model.safetensors')
    torch.save(weights, tmp_path / 'teacher.pth')
    with pytest.raises(PretrainedWeightsError, match=r"matches nothing.*'mid_block\."):
        check(config(tmp_path / 'teacher.pth'))


@pytest.mark.parametrize(('depth', 'message'), [(34, 'Missing'), (50, 'Shapes that differ')])
def test_a_deeper_model(distilled, depth, message):
    with pytest.raises(PretrainedWeightsError, match=message):
        check(config(distilled, depth=depth))


def test_a_shallower_model_leaves_tensors_over(tmp_path):
    deeper = MODELS.build({'type': 'ResNet', 'depth': 34, 'base_channels': 8, 'stem_channels': 8})
    torch.save({PREFIX + key: value for key, value in deeper.state_dict().items()}, tmp_path / 'r34.pth')
    with pytest.raises(PretrainedWeightsError, match='Not in the model'):
        check(config(tmp_path / 'r34.pth'))


def test_partial_weights_can_be_allowed_but_nothing_at_all_cannot(distilled):
    check(config(distilled, depth=34), allow_partial=True)
    with pytest.raises(PretrainedWeightsError, match='matches nothing'):
        check(config(distilled, prefix='none.'), allow_partial=True)
