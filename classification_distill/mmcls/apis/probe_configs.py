"""A probe that is kept in a folder and resumed where it was stopped: a table, a heat map, a config of the best cell."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from torch.utils.data import Dataset, Subset
from tqdm.contrib.concurrent import thread_map

from ..configs import load_config
from ..datasets.image_folder import load_classes
from ..datasets.in_memory import one_by_one
from ..engine.feature_cache import fingerprint_weights
from ..engine.preflight import walk_datasets
from ..errors import MissingFileError, UnusableInputError
from ..files import write_text, written_whole
from ..progress import ProgressBar
from .probe import DEVICE, TIMESTEPS, Labelled, check_timesteps, probe_timestep, progress_bar
from .teacher import describe_teacher, every_block

COLUMNS = ('layer', 'timestep', 'channels', 'stride', 'linear', 'knn', 'held_out', 'literature')


def probe_configs(
    teacher: str,
    data: str,
    out: str | Path,
    layers: list[str] | None = None,
    timesteps: Sequence[int] = TIMESTEPS,
    num_train: int = 2000,
    num_test: int = 2000,
    batch_size: int = 64,
) -> str:
    """As ``probe``, for what files describe; resumed where it was stopped.

    Args:
        teacher: What ``load_teacher`` takes; or a config with ``model.teacher``, such as a distillation config.
        data: Folder with a subfolder a class, of whose images half of each class is for testing; or a config with
            ``train_dataloader`` and ``val_dataloader``.
        out: Folder for ``probe.csv``, the heat map ``probe.png`` and ``best.py``, a config of the best cell.
        layers: Layers to probe; by default every residual or transformer block, and what the literature found.
        timesteps: Timesteps to probe.
        num_train: Images to fit the probes on, drawn from the training split and not augmented; at most.
        num_test: Images of the validation split to test them on; at most.
        batch_size: Images of one pass through the teacher.

    Returns:
        str: The contents of ``best.py``.

    Raises:
        RepFusionError: When a config is not there or not of its kind, or ``out`` is of another probe.
        ValueError: When a layer or a timestep is not the teacher's.
    """
    init_default_scope('mmpretrain')
    settings = _teacher_settings(teacher)
    config = None if Path(data).is_dir() else _data_config(data)
    network = MODELS.build(settings | {'layers': layers or every_block(settings)}).to(DEVICE)
    check_timesteps(network, timesteps)
    if config is None:
        splits, classes = _read_folder(Path(data), max(network.sample_size), num_train, num_test)
        sizes = [len(labels) for _, labels in splits]
    else:
        sets = _build_images(config, 'train', num_train), _build_images(config, 'val', num_test)
        sizes, classes = [len(images) for images in sets], sets[0].dataset.metainfo.get('classes')
    if network.class_conditioning.mode == 'true':
        network.class_conditioning.set_dataset_classes(classes)
    record = {
        'teacher': teacher,
        'weights': fingerprint_weights(network),
        'data': data,
        'images': sizes if config else [_digest(*split) for split in splits],
        'layers': list(network.layers),
        'timesteps': list(timesteps),
        'train': num_train,
        'test': num_test,
        'config': settings,
    }
    out = Path(out)
    rows = _load_rows(out, record)
    done = {int(row['timestep']) for row in rows}
    waiting = [t for t in timesteps if t not in done]
    if waiting:
        if config is not None:
            splits = [_read(images, config.get('data_preprocessor', {})) for images in sets]
        with progress_bar(splits, waiting) as bar:
            for t in waiting:
                rows += probe_timestep(network, splits, t, batch_size, bar)
                write_text(out / 'probe.csv', _table(rows))
    draw_heat_map(rows, out / 'probe.png')
    return write_snippet(rows, sizes[1] // 2, out / 'best.py')


def _teacher_settings(teacher: str) -> dict:
    if not teacher.endswith('.py'):
        return describe_teacher(teacher) | {'compile': False}
    config = load_config(teacher)
    if 'teacher' not in config.get('model', {}):
        raise UnusableInputError(f'{teacher} has no model.teacher: give a distillation config.')
    return config.model.teacher.to_dict()


def _data_config(path: str) -> Config:
    if not Path(path).is_file():
        raise MissingFileError(f'There is neither a folder nor a config {path!r} in {Path.cwd()}.')
    config = load_config(path)
    if not {'train_dataloader', 'val_dataloader'} <= config.keys():
        raise UnusableInputError(
            f'{path} lacks train_dataloader or val_dataloader: give a config of a data set, or a folder with a '
            'subfolder a class.'
        )
    return config


def _read_folder(folder: Path, size: int, *limits: int) -> tuple[list[Labelled], list[str]]:
    """Two parts of a folder of classes, the same ones in every call, and the names of the classes."""
    pixels, labels, classes = load_classes(folder, size)
    order = np.random.default_rng(0).permutation(len(labels))
    place = np.empty(len(labels), int)  # of each image among those of its class
    for label in range(len(classes)):
        (found,) = np.nonzero(labels.numpy()[order] == label)
        place[found] = range(len(found))
    halves = [torch.from_numpy(order[place % 2 == which]) for which in range(2)]
    parts = [half[:limit].sort().values for half, limit in zip(halves, limits, strict=True)]
    return [(pixels[part], labels[part]) for part in parts], classes


def _digest(pixels: torch.Tensor, labels: torch.Tensor) -> str:
    return hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()[:32]


def _build_images(config: Config, split: str, limit: int, seed: int = 0) -> Dataset:
    """A fixed random part of a split, to be read without augmentation."""
    settings = one_by_one(config[f'{split}_dataloader'].dataset)
    if split == 'train':
        plain = _innermost(config.val_dataloader.dataset)[0].pipeline
        for dataset in _innermost(settings):
            dataset.pipeline = plain
    dataset = DATASETS.build(settings)
    order = np.random.default_rng(seed).permutation(len(dataset))[:limit]
    return Subset(dataset, sorted(order.tolist()))


def _innermost(settings: dict) -> list[dict]:
    """The data set's config, or those that wrappers such as RepeatDataset and ConcatDataset hold."""
    return [dataset for _, dataset in walk_datasets(settings, '') if not {'dataset', 'datasets'} & dataset.keys()]


def _read(images: Dataset, preprocessor: dict) -> Labelled:
    """Every sample of a data set of MMPretrain, decoded once for all timesteps."""
    # Decoding leaves Python to the other threads.
    indices = range(len(images))
    samples = thread_map(images.__getitem__, indices, desc='reading', unit='image', leave=False, tqdm_class=ProgressBar)
    pixels = torch.stack([sample['inputs'] for sample in samples])
    if preprocessor.get('to_rgb'):
        pixels = pixels.flip(1)
    return pixels, torch.cat([sample['data_samples'].gt_label for sample in samples])


def _load_rows(out: Path, record: dict) -> list[dict]:
    """The rows of an earlier, unfinished probe of the same kind.

    Raises:
        UnusableInputError: When ``out`` is of another.
    """
    path, table = out / 'probe.json', out / 'probe.csv'
    if path.is_file() and (earlier := json.loads(path.read_text())) != record:
        different = ', '.join(key for key in record if record[key] != earlier.get(key))
        raise UnusableInputError(
            f'{out} holds a probe with other settings ({different}). Give another folder by --out.'
        )
    write_text(path, json.dumps(record, indent=2) + '\n')
    # One of an older version has fewer columns.
    return [dict.fromkeys(COLUMNS, '') | row for row in csv.DictReader(table.open())] if table.is_file() else []


def _table(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerows([COLUMNS, *([_cell(row[key]) for key in COLUMNS] for row in rows)])
    return text.getvalue()


def _cell(value) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)


def draw_heat_map(rows: list[dict], path: Path) -> None:
    """Layers x timesteps, a panel a probe, the best cell framed; a star marks the literature's layers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    layers = list(dict.fromkeys(row['layer'] for row in rows))
    found = {row['layer'] for row in rows if row['literature']}
    timesteps = sorted({int(row['timestep']) for row in rows})
    figure = Figure(figsize=(5 + 0.9 * len(timesteps), 1.6 + 0.28 * len(layers)), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(panels, (('linear', 'linear probe'), ('knn', '10 nearest neighbours')), strict=True):
        values = np.full((len(layers), len(timesteps)), np.nan)
        for row in rows:
            values[layers.index(row['layer']), timesteps.index(int(row['timestep']))] = float(row[key])
        image = axes.imshow(values, aspect='auto')
        y, x = np.unravel_index(np.nanargmax(values), values.shape)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor='red', linewidth=2))
        axes.set(title=f'{title}, best {values[y, x]:.1f} %', xlabel='timestep')
        axes.set_xticks(range(len(timesteps)), timesteps)
        axes.set_yticks(range(len(layers)), [f'* {layer}' if layer in found else layer for layer in layers])
        figure.colorbar(image, ax=axes, label='accuracy, %')
    with written_whole(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


def write_snippet(rows: list[dict], num_held_out: int, path: Path) -> str:
    """The best (layer, t) by the linear probe as a config to paste under ``_base_``."""
    best = max(rows, key=lambda row: float(row['linear']))
    accuracy = float(best['held_out'])
    error = (accuracy * (100 - accuracy) / num_held_out) ** 0.5
    text = (
        f'# Linear probe {accuracy:.1f} % (standard error {error:.1f}) on {num_held_out:,} images that did not choose '
        'it.\n'
        'model = dict(\n'
        f'    teacher=dict(layers=[{best["layer"]!r}]),\n'
        f"    timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep={best['timestep']}))\n"
    )
    write_text(path, text)
    return text
