"""A student's backbone out of a training checkpoint, without its teacher."""

import ast
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from mmcls.configs import type_name
from mmcls.engine.launch import refuse_code_in_checkpoints
from mmcls.engine.pretrained import describe_prefixes
from mmengine.config import Config
from mmengine.runner.checkpoint import get_torch_safe_globals
from mmpretrain.models import TIMMBackbone
from mmpretrain.registry import MODELS
from torch import nn

PREFIX = 'student.backbone.'
STARTING_WEIGHTS = ('init_cfg', 'pretrained', 'checkpoint_path')


@dataclass
class Student:
    """A student's backbone and the run that it comes from.

    Attributes:
        backbone: With its weights, in evaluation mode.
        backbone_config: What builds it; weights that it once started from are left out.
        config: Of the whole run.
        checkpoint: The file that it comes from.
        epoch: Epochs trained.
        iteration: Iterations trained.
        averaged: Whether the weights are an average over training (EMA).
    """

    backbone: nn.Module
    backbone_config: dict
    config: dict
    checkpoint: Path
    epoch: int
    iteration: int
    averaged: bool

    @property
    def is_timm(self) -> bool:
        return isinstance(self.backbone, TIMMBackbone)


def read_student(path: Path, config_file: str | None = None) -> Student:
    """Build a student's backbone from a checkpoint of ``RepFusion`` or ``KDClassifier``.

    Args:
        path: Checkpoint that MMEngine wrote. Nothing in it is executed.
        config_file: The run's config; by default the one that the checkpoint keeps.

    Raises:
        ValueError: For a file that is damaged or holds more than data, without a student, or whose config does not
            describe it.
    """
    checkpoint = _load(path)
    # EMAHook saves the averaged weights as state_dict, and those being trained as ema_state_dict: what MMEngine tests
    # is always state_dict.
    weights = checkpoint.get('state_dict', {})
    state_dict = {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
    if not state_dict:
        raise ValueError(
            f'{path} holds no student: no tensor is named {PREFIX}*. Prefixes that it holds: '
            f'{describe_prefixes(weights)}. Give a checkpoint that a distillation wrote.'
        )
    meta = checkpoint.get('meta', {})
    config = Config.fromfile(config_file).to_dict() if config_file else parse_config(meta.get('cfg', ''), path)
    source = config_file or f'The config that {path} keeps'
    if 'backbone' not in config.get('model', {}):
        raise ValueError(f'{source} has no model.backbone. Give the config of the distillation by --config.')
    settings = {key: value for key, value in config['model']['backbone'].items() if key not in STARTING_WEIGHTS}
    if not config_file:
        settings = _bare_types(settings)
        _refuse_foreign_types(settings, source)
    backbone = MODELS.build(settings)
    try:
        backbone.load_state_dict(state_dict)
    except RuntimeError as error:
        raise ValueError(f'{source} does not describe the student of {path}. {error}') from error
    backbone.eval()
    return Student(
        backbone=backbone,
        backbone_config=settings,
        config=config,
        checkpoint=path,
        epoch=meta.get('epoch', 0),
        iteration=meta.get('iter', 0),
        averaged='ema_state_dict' in checkpoint,
    )


def parse_config(text: str, path: Path) -> dict:
    """Read the config that MMEngine wrote into a checkpoint, as data: MMEngine itself would execute it.

    Raises:
        ValueError: When there is none, or it holds more than numbers, strings, lists and ``dict(...)``.
    """
    try:
        settings = {
            target.id: ast.literal_eval(_DictCalls().visit(statement.value))
            for statement in ast.parse(text).body
            for target in statement.targets
        }
    except (ValueError, SyntaxError, AttributeError) as error:
        raise ValueError(f'The config that {path} keeps is not plain data. Give it by --config.') from error
    if not settings:
        raise ValueError(f'{path} keeps no config. Give it by --config.')
    return settings


class _DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` and ``dict({'a': 1})`` as the literal ``{'a': 1}``; ``Ellipsis`` as the literal ``...``.

    A class, which MMEngine writes as ``package.module.Name``, is that string.
    """

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(ast.unparse(node))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(...) if node.id == 'Ellipsis' else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return node
        if node.args:
            return node.args[0]
        return ast.Dict([ast.Constant(item.arg) for item in node.keywords], [item.value for item in node.keywords])


def _load(path: Path) -> dict:
    refuse_code_in_checkpoints()
    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            return torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f'{path} is damaged, or holds more than tensors and plain values: {error}') from error


def _refuse_foreign_types(settings: dict, source: str) -> None:
    """A registry imports and calls whatever a name with dots stands for, so a stranger's config must have none."""
    ours = ('mmpretrain.models.backbones.', 'mmcls.models.backbones.')
    foreign = [name for name in _types(settings) if not isinstance(name, str) or '.' in name]
    known = None if foreign else MODELS.module_dict.get(settings.get('type'))
    if known is None or not known.__module__.startswith(ours):
        raise ValueError(
            f'{source} asks for {foreign or settings.get("type")}, expected a backbone of MMPretrain or of mmcls. If '
            'you trust it, give the config by --config.'
        )


def _bare_types(node):
    """Types of a pure Python config, such as ``mmpretrain.models.ResNet``, by their names in the registry."""
    if isinstance(node, dict):
        return {key: _bare_type(value) if key == 'type' else _bare_types(value) for key, value in node.items()}
    return type(node)(map(_bare_types, node)) if isinstance(node, list | tuple) else node


def _bare_type(kind):
    ours = isinstance(kind, str) and kind.startswith(('mmpretrain.', 'mmcls.'))
    return type_name({'type': kind}) if ours else kind


def _types(node) -> Iterator:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == 'type')
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _types(item)
