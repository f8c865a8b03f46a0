from copy import deepcopy

import pytest
from mmcls.engine.launch import build_runner, prepare_config
from mmcls.engine.preflight import channel_order, check_channel_order
from support import ROOT

LOAD, PACK = {'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}
FILES = {'type': 'CustomDataset', 'pipeline': [LOAD, PACK]}
CIFAR100 = {'type': 'CIFAR100', 'pipeline': [PACK]}
OTHER = {'type': 'CustomDataset', 'pipeline': [{'type': 'Resize', 'scale': 8}, PACK]}


def config(dataset, split='train', model='RepFusion', **preprocessor):
    return {
        'model': {'type': model},
        'data_preprocessor': preprocessor,
        f'{split}_dataloader': {'dataset': dataset},
    }


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('model', ['RepFusion', 'DDPMTrainer'])
def test_files_must_be_turned_round(split, model):
    check_channel_order(config(FILES, split, model, to_rgb=True))
    check_channel_order(config(FILES, split, model, bgr_to_rgb=True))
    message = rf'{split}_dataloader\.dataset \(CustomDataset\) gives BGR, .*\.to_rgb is False\. Set it to True'
    for preprocessor in ({}, {'to_rgb': False}):
        with pytest.raises(ValueError, match=message):
            check_channel_order(config(FILES, split, model, **preprocessor))


def test_cifar_must_not():
    check_channel_order(config(CIFAR100))
    with pytest.raises(ValueError, match=r'\(CIFAR100\) gives RGB, .*\.to_rgb is True\. Set it to False'):
        check_channel_order(config(CIFAR100, to_rgb=True))


def test_wrapped_data_sets_and_the_models_own_preprocessor():
    wrapped = {'type': 'ConcatDataset', 'datasets': [CIFAR100, {'type': 'RepeatDataset', 'dataset': FILES}]}
    with pytest.raises(ValueError, match=r'train_dataloader\.dataset\.datasets\[1\]\.dataset \(CustomDataset\)'):
        check_channel_order(config(wrapped))
    settings = config(FILES, to_rgb=False)
    settings['model']['data_preprocessor'] = {'to_rgb': True}  # comes first, as in MMEngine
    check_channel_order(settings)


def test_what_is_unknown_or_no_diffusion_model_is_let_through():
    for to_rgb in (True, False):
        check_channel_order(config(OTHER, to_rgb=to_rgb))
        for model in ('ImageClassifier', 'EncoderDecoder'):
            check_channel_order(config(FILES, model=model, to_rgb=to_rgb))


@pytest.mark.parametrize(
    ('transforms', 'order'),
    [
        ([{'type': 'mmpose.LoadImage'}], 'BGR'),
        ([LOAD, {'type': 'NumpyToPIL', 'to_rgb': True}, {'type': 'PILToNumpy', 'to_bgr': True}], 'BGR'),
        ([LOAD, {'type': 'NumpyToPIL', 'to_rgb': True}, {'type': 'PILToNumpy'}], 'RGB'),
        ([], None),
    ],
)
def test_order_that_a_pipeline_gives(transforms, order):
    assert channel_order({'type': 'CustomDataset', 'pipeline': deepcopy([*transforms, PACK])}) == order


def test_a_run_ends_before_anything_is_built(tmp_path):
    path = ROOT / 'classification_distill/configs/digits-hint/ddpm-r18_hint.py'
    options = {'data_preprocessor.to_rgb': False, 'model.teacher.pretrained': 'not/there'}
    settings = prepare_config(str(path), options, str(tmp_path / 'run'))
    with pytest.raises(ValueError, match='red as blue'):
        build_runner(settings)
    assert not (tmp_path / 'run').exists()
