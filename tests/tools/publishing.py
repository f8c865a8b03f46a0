"""Students in checkpoints, published and taken up again as the model card shows."""

import re
from pathlib import Path

import pytest
import torch
from mmcls.engine.pretrained import check_pretrained_weights
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope
from mmpretrain.registry import MODELS
from support import door
from torch import Tensor, nn

TINY = {'type': 'WideResNet', 'depth': 10, 'width_factor': 1}
RESNET = {'type': 'ResNet', 'depth': 18}


def training_config(backbone: dict, size: int = 32, **settings) -> str:
    """A distillation's config, as MMEngine writes it into a checkpoint."""
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'RandomResizedCrop', 'scale': size}, {'type': 'PackInputs'}]
    config = {
        'model': {
            'type': 'RepFusion',
            'teacher': {'type': 'DiffusersTeacher', 'pretrained': 'not/here', 'layers': ['mid_block']},
            'backbone': backbone,
            'timestep_policy': {'type': 'ReinforcePolicy', 'entropy_weight': 0.1},
            'distill_loss': {'type': 'HintLoss', 'loss_weight': 2.0},
        },
        'data_preprocessor': {'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0], 'to_rgb': True},
        'train_dataloader': {'dataset': {'type': 'CustomDataset', 'data_root': 'data/faces', 'pipeline': pipeline}},
    }
    return Config(config | settings).pretty_text


def random_backbone(settings: dict) -> nn.Module:
    """With statistics of batch norm that are not those of a new network."""
    backbone = MODELS.build(settings)
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        if name.endswith(('running_mean', 'running_var')):
            value.uniform_(0.5, 1.5)
    backbone.eval()
    return backbone


def save_checkpoint(path: str, backbone: nn.Module, text: str) -> None:
    weights = {f'student.backbone.{key}': value for key, value in backbone.state_dict().items()}
    meta = {'cfg': text, 'epoch': 2, 'iter': 6}
    Path(path).parent.mkdir(exist_ok=True)
    torch.save({'meta': meta, 'state_dict': weights | {'task_head.bias': torch.zeros(2)}}, path)


def publish(*arguments) -> None:
    door('publish_student', *arguments)
    init_default_scope('mmpretrain')


def expect_refusal(capsys, message: str, *arguments) -> None:
    """Publishing must end with the message and leave nothing in the folder."""
    before = set(Path.cwd().iterdir())
    with pytest.raises(SystemExit, match='2'):
        publish(*arguments)
    assert re.search(message, capsys.readouterr().err)
    assert set(Path.cwd().iterdir()) == before


def snippets(folder: str) -> dict[str, str]:
    """The card's Python, by the words before it."""
    card = Path(folder, 'README.md').read_text()
    return dict(re.findall(r'^([^\n]+):\n\n```python\n(.*?)\n```', card, re.MULTILINE | re.DOTALL))


def execute(code: str, **names) -> dict:
    exec(code, names)
    return names


def load_by_snippet(code: str, registry: Registry, scope: str) -> nn.Module:
    """Build the backbone that a snippet shows, check its weights as training does, and load them."""
    init_default_scope(scope)
    config = {'model': execute(code)['model']}
    module = nn.ModuleDict({'backbone': registry.build(config['model']['backbone'])})
    check_pretrained_weights(module, config)
    module['backbone'].init_weights()
    module.eval()
    return module['backbone']


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
