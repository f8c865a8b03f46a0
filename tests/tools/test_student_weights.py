"""Weights for a student to start from, in files of every library."""

from pathlib import Path

import pytest
import timm
import torch
from mmcls.apis.publish import publish
from mmcls.apis.student_weights import write_starting_weights
from mmcls.weights import PretrainedWeightsError
from mmpretrain.registry import MODELS
from publishing import TINY, assert_same, random_backbone, save_checkpoint, training_config
from safetensors.torch import save_file

TIMM = {'type': 'TIMMBackbone', 'model_name': 'resnet10t'}


def start(source: Path, backbone: dict, folder: Path) -> dict:
    init_cfg = write_starting_weights(source, backbone, folder / 'start.pth')
    network = MODELS.build(backbone | {'init_cfg': init_cfg})
    network.init_weights()
    return network.state_dict()


def test_a_file_of_timm(tmp_path):
    trained = timm.create_model('resnet10t').state_dict()
    older = {key: value for key, value in trained.items() if not key.endswith('num_batches_tracked')}
    save_file(trained, tmp_path / 'model.safetensors')
    torch.save({'state_dict': older}, tmp_path / 'older.pth')
    expected = {f'timm_model.{key}': value for key, value in trained.items() if not key.startswith('fc.')}
    for name in ('model.safetensors', 'older.pth'):
        assert_same(start(tmp_path / name, TIMM, tmp_path), expected)


@pytest.mark.parametrize('prefix', ['backbone.', 'student.backbone.', ''])
def test_a_checkpoint_of_mmpretrain_or_of_a_distillation(prefix, tmp_path):
    trained = random_backbone(TINY).state_dict()
    weights = {prefix + key: value for key, value in trained.items()} | {'head.fc.weight': torch.zeros(2)}
    torch.save({'state_dict': weights}, tmp_path / 'model.pth')
    assert_same(start(tmp_path / 'model.pth', TINY, tmp_path), trained)


@pytest.mark.parametrize('settings', [TINY, TIMM], ids=lambda settings: settings['type'])
@pytest.mark.parametrize('formats', [['pth'], ['safetensors']], ids=lambda formats: formats[0])
def test_a_published_student(settings, formats, tmp_path):
    backbone = random_backbone(settings)
    save_checkpoint(tmp_path / 'epoch_2.pth', backbone, training_config(settings))
    publish(tmp_path / 'epoch_2.pth', tmp_path / 'student', formats)
    assert_same(start(tmp_path / 'student', settings, tmp_path), backbone.state_dict())


def test_what_does_not_fit_is_refused(tmp_path):
    torch.save(random_backbone(TINY | {'depth': 16}).state_dict(), tmp_path / 'other.pth')
    start(tmp_path / 'other.pth', TINY | {'depth': 16}, tmp_path)
    (tmp_path / 'start.pth').unlink()
    with pytest.raises(PretrainedWeightsError, match=r'(?s)other\.pth does not fit the student.*Missing'):
        start(tmp_path / 'other.pth', TINY | {'depth': 22}, tmp_path)
    assert not (tmp_path / 'start.pth').exists()
    for missing in (tmp_path / 'none.pth', tmp_path):
        with pytest.raises(FileNotFoundError, match='with weights for the student'):
            start(missing, TINY, tmp_path)


def test_a_training_goes_on_with_the_weights_that_it_began_with(tmp_path):
    torch.save(random_backbone(TINY).state_dict(), tmp_path / 'first.pth')
    torch.save(random_backbone(TINY).state_dict(), tmp_path / 'second.pth')
    write_starting_weights(tmp_path / 'first.pth', TINY, tmp_path / 'start.pth')
    began = (tmp_path / 'start.pth').read_bytes()
    write_starting_weights(tmp_path / 'first.pth', TINY, tmp_path / 'start.pth', begun=True)
    with pytest.raises(ValueError, match=r'began with other weights than .*second\.pth'):
        write_starting_weights(tmp_path / 'second.pth', TINY, tmp_path / 'start.pth', begun=True)
    torch.save(random_backbone(TINY | {'depth': 16}).state_dict(), tmp_path / 'deeper.pth')
    with pytest.raises(ValueError, match=r'began with other weights than .*deeper\.pth'):
        write_starting_weights(tmp_path / 'deeper.pth', TINY | {'depth': 16}, tmp_path / 'start.pth', begun=True)
    assert (tmp_path / 'start.pth').read_bytes() == began
    write_starting_weights(tmp_path / 'first.pth', TINY, tmp_path / 'new.pth', begun=True)  # it began without any
