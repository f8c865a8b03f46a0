from types import SimpleNamespace

import pytest
import torch
from mmcls.engine.pretrained import PretrainedWeightsHook, check_checkpoint, check_pretrained_weights
from mmcls.weights import PretrainedWeightsError
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import PretrainedInit
from mmpretrain.registry import MODELS
from small_runner import Linear, small_runner

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


def begin_training(model, cfg, log_file):
    """What the hook sees of a runner whose model was initialised; returns the log."""
    logger = MMLogger('pretrained', log_file=str(log_file))
    PretrainedWeightsHook().before_train(SimpleNamespace(model=model, cfg=Config(cfg), logger=logger))
    return log_file.read_text()


def test_every_tensor_is_loaded_and_the_log_says_what_was_seen(distilled, tmp_path):
    cfg = config(distilled)
    model = check(cfg)
    model.init_weights()
    assert f'backbone: 120 of 120 tensors equal those of {distilled}' in begin_training(model, cfg, tmp_path / 'log')
    saved = torch.load(distilled)['state_dict']
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, saved[PREFIX + key]), key


def test_weights_that_do_not_arrive_end_the_run(distilled, tmp_path):
    cfg = config(distilled)
    model = check(cfg)  # never initialised
    with pytest.raises(PretrainedWeightsError, match=r'model\.backbone\.init_cfg was not followed.*conv1\.weight'):
        begin_training(model, cfg, tmp_path / 'log')


@pytest.mark.parametrize('settings', [{'resume': True}, {'load_from': 'epoch_1.pth'}])
def test_a_run_that_goes_on_has_its_checkpoints_weights(tmp_path, settings):
    settings |= {'load_from': str(tmp_path / settings['load_from'])} if 'load_from' in settings else {}
    start = Linear().state_dict()
    torch.save(start, tmp_path / 'start.pth')
    for epochs, more in ((1, {}), (2, settings)):
        runner = small_runner(tmp_path, epochs=epochs, custom_hooks=[{'type': 'PretrainedWeightsHook'}], **more)
        runner.model.init_cfg = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'start.pth')}
        runner.train()
    assert not torch.equal(runner.model.layer.weight, start['layer.weight'])


def test_an_outer_modules_weights_go_over_those_of_the_modules_in_it(distilled, tmp_path):
    cfg = config(distilled)
    whole = {'backbone.' + k.removeprefix(PREFIX): v + 1 for k, v in torch.load(distilled)['state_dict'].items()}
    torch.save({k: v for k, v in whole.items() if 'task_head' not in k}, tmp_path / 'whole.pth')
    cfg['model']['init_cfg'] = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'whole.pth')}
    model = check(cfg)
    model.init_weights()
    assert 'model: 120 of 120 tensors equal those of' in begin_training(model, cfg, tmp_path / 'log')


def test_the_initialisation_may_be_named_by_its_class(distilled):
    cfg = config(distilled)
    cfg['model']['backbone']['init_cfg'] |= {'type': PretrainedInit, 'prefix': 'backbone.'}
    with pytest.raises(PretrainedWeightsError, match=r"model\.backbone\.init_cfg\.prefix='backbone\.'"):
        check(cfg)


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


def test_a_checkpoint_of_another_model_is_refused_where_all_of_it_is_loaded(distilled):
    model = MODELS.build({'type': 'ResNet', 'depth': 18, 'base_channels': 8, 'stem_channels': 8})
    with pytest.raises(
        PretrainedWeightsError, match=r"no checkpoint of this model.*\n.*Missing.*\n.*'student.backbone.'"
    ):
        check_checkpoint(model, str(distilled))
    with pytest.raises(PretrainedWeightsError, match='no checkpoint of this model'):  # there is nothing to go on with
        check_checkpoint(model, str(distilled), allow_partial=True)
    whole = distilled.with_name('whole.pth')
    torch.save({'state_dict': model.state_dict() | {'ema': torch.zeros(1)}}, whole)
    check_checkpoint(model, str(whole))
    part = model.state_dict()
    part.pop('conv1.weight')
    torch.save({'state_dict': part}, whole)
    with pytest.raises(PretrainedWeightsError, match=r'Missing \(1\): conv1.weight'):
        check_checkpoint(model, str(whole))
    check_checkpoint(model, str(whole), allow_partial=True)
