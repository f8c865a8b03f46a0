"""What a diffusion model knows, layer by layer and timestep by timestep: linear and k-nearest-neighbour probes."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor
from torch.utils.data import Dataset, Subset
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from ..configs import load_config
from ..engine.preflight import walk_datasets
from ..errors import UnusableInputError
from ..models.images import as_batch, check_diffusion_range
from ..models.teachers import BaseTeacher
from ..weights import write_text, written_whole
from .teacher import every_block, load_teacher

COLUMNS = ('layer', 'timestep', 'channels', 'stride', 'linear', 'knn')
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
TIMESTEPS = (0, 50, 100, 200, 300, 400, 600, 800)

Labelled = tuple[Tensor, Tensor]  # images (N, 3, H, W) in [0, 1], labels (N,)


def probe(
    teacher: str | BaseTeacher,
    train: Sequence[tuple],
    test: Sequence[tuple],
    layers: list[str] | None = None,
    timesteps: Sequence[int] = TIMESTEPS,
    batch_size: int = 64,
) -> list[dict]:
    """Fit linear and 10-nearest-neighbour (cosine) probes on pooled, standardised features.

    Args:
        teacher: What ``load_teacher`` takes or gives.
        train: ``(image, class)`` pairs to fit the probes on, such as a torchvision data set; images as ``as_batch``
            takes them.
        test: Pairs to test them on.
        layers: Layers to probe, where the teacher is not loaded yet; by default every residual or transformer block.
        timesteps: Timesteps to probe.
        batch_size: Images of one pass through the teacher.

    Returns:
        list[dict]: A row a layer and timestep: ``layer``, ``timestep``, ``channels``, ``stride``, and the test accuracy
        in % of both, ``linear`` and ``knn``.

    Raises:
        ValueError: When a layer or a timestep is not the teacher's.

    Example:
        >>> rows = probe('google/ddpm-cifar10-32', train, test, timesteps=[0, 100])
        >>> max(rows, key=lambda row: row['linear'])['layer']
        'up_blocks.1.resnets.1'
    """
    if not isinstance(teacher, BaseTeacher):
        teacher = load_teacher(teacher, layers or 'blocks').to(DEVICE)
    _check_timesteps(teacher, timesteps)
    splits = [_collect(pairs, teacher.sample_size) for pairs in (train, test)]
    with _bar(splits, timesteps) as bar:
        return [row for t in timesteps for row in _probe_timestep(teacher, splits, t, batch_size, bar)]


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
    """As ``probe``, for a teacher and a data set that configs describe; resumed where it was stopped.

    Args:
        teacher: Config with ``model.teacher``, such as a distillation config.
        data: Config with ``train_dataloader`` and ``val_dataloader``.
        out: Folder for ``probe.csv``, the heat map ``probe.png`` and ``best.py``, a config of the best cell.
        layers: Layers to probe; by default every residual or transformer block.
        timesteps: Timesteps to probe.
        num_train: Images to fit the probes on, drawn from the training split and not augmented.
        num_test: Images of the validation split to test them on.
        batch_size: Images of one pass through the teacher.

    Returns:
        str: The contents of ``best.py``.

    Raises:
        RepFusionError: When a config is not there or not of its kind, or ``out`` is of another probe.
        ValueError: When a layer or a timestep is not the teacher's.
    """
    init_default_scope('mmpretrain')
    teacher_config, config = load_config(teacher), load_config(data)
    if 'teacher' not in teacher_config.get('model', {}):
        raise UnusableInputError(f'{teacher} has no model.teacher: give a distillation config.')
    if not {'train_dataloader', 'val_dataloader'} <= config.keys():
        raise UnusableInputError(f'{data} lacks train_dataloader or val_dataloader: give a config of a data set.')
    settings = teacher_config.model.teacher.to_dict()
    network = MODELS.build(settings | {'layers': layers or every_block(settings)}).to(DEVICE)
    _check_timesteps(network, timesteps)
    sets = _build_images(config, 'train', num_train), _build_images(config, 'val', num_test)
    if network.class_conditioning.mode == 'true':
        network.class_conditioning.set_dataset_classes(sets[0].dataset.metainfo['classes'])
    record = {
        'teacher': teacher,
        'data': data,
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
        splits = [_read(images, config.get('data_preprocessor', {})) for images in sets]
        with _bar(splits, waiting) as bar:
            for t in waiting:
                rows += _probe_timestep(network, splits, t, batch_size, bar)
                write_text(out / 'probe.csv', _table(rows))
    _draw_heat_map(rows, out / 'probe.png')
    return _write_snippet(rows, len(sets[1]), out / 'best.py')


def _check_timesteps(teacher: BaseTeacher, timesteps: Sequence[int]) -> None:
    if wrong := [t for t in timesteps if not 0 <= t < teacher.num_timesteps]:
        raise UnusableInputError(f'timesteps {wrong}: expected 0 to {teacher.num_timesteps - 1}.')


def _collect(pairs: Sequence[tuple], size: tuple[int, int]) -> Labelled:
    images, labels = zip(*(pairs[index] for index in range(len(pairs))), strict=True)
    return as_batch(images, size), torch.as_tensor(labels)


def _build_images(config: Config, split: str, limit: int, seed: int = 0) -> Dataset:
    """A fixed random part of a split, to be read without augmentation."""
    settings = config[f'{split}_dataloader'].dataset
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
    samples = thread_map(images.__getitem__, indices, desc='reading', unit='image', leave=False, disable=None)
    pixels = torch.stack([sample['inputs'] for sample in samples])
    if preprocessor.get('to_rgb'):
        pixels = pixels.flip(1)
    return pixels.float() / 255, torch.cat([sample['data_samples'].gt_label for sample in samples])


def _bar(splits: Sequence[Labelled], timesteps: Sequence[int]) -> tqdm:
    return tqdm(total=len(timesteps) * sum(len(labels) for _, labels in splits), unit='image', disable=None)


def _probe_timestep(teacher: BaseTeacher, splits: Sequence[Labelled], t: int, batch_size: int, bar: tqdm) -> list[dict]:
    """The rows of one timestep, one a layer."""
    bar.set_description(f't = {t}')
    torch.manual_seed(t)  # a resumed run then draws the noise that an uninterrupted one draws
    train, test = (_extract(teacher, images, labels, t, batch_size, bar) for images, labels in splits)
    rows = []
    for layer, (channels, stride) in teacher.feature_info.items():
        scores = fit_probes(train[layer], splits[0][1].numpy(), test[layer], splits[1][1].numpy())
        rows.append({'layer': layer, 'timestep': t, 'channels': channels, 'stride': stride} | scores)
    return rows


def _extract(
    teacher: BaseTeacher, images: Tensor, labels: Tensor, t: int, batch_size: int, bar: tqdm
) -> dict[str, np.ndarray]:
    """Pooled features ``(images, C)`` of every layer at one timestep, in one pass."""
    device = next(teacher.network.parameters()).device
    parts = []
    for pixels, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        pixels, truth = 2 * pixels.to(device) - 1, truth.to(device)
        check_diffusion_range(pixels)
        features = teacher(pixels, torch.full_like(truth, t), truth, pooled=True)
        parts.append({layer: feature.flatten(1).cpu() for layer, feature in features.items()})
        bar.update(len(pixels))
    return {layer: torch.cat([part[layer] for part in parts]).numpy() for layer in teacher.layers}


def fit_probes(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> dict[str, float]:
    """Test accuracy in % of a linear and of a 10-nearest-neighbour (cosine) probe on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    neighbors = KNeighborsClassifier(min(10, len(train)), metric='cosine')
    probes = {'linear': LogisticRegression(C=0.1, max_iter=2000), 'knn': neighbors}
    return {
        name: round(100 * make_pipeline(StandardScaler(), fit).fit(train, train_labels).score(test, test_labels), 2)
        for name, fit in probes.items()
    }


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
    return list(csv.DictReader(table.open())) if table.is_file() else []


def _table(rows: list[dict]) -> str:
    lines = (','.join(_cell(row[key]) for key in COLUMNS) for row in rows)
    return '\n'.join([','.join(COLUMNS), *lines, ''])


def _cell(value) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)


def _draw_heat_map(rows: list[dict], path: Path) -> None:
    """Layers x timesteps, a panel a probe, the best cell framed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    layers = list(dict.fromkeys(row['layer'] for row in rows))
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
        axes.set_yticks(range(len(layers)), layers)
        figure.colorbar(image, ax=axes, label='test accuracy, %')
    with written_whole(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


def _write_snippet(rows: list[dict], num_test: int, path: Path) -> str:
    """The best (layer, t) by the linear probe as a config to paste under ``_base_``."""
    best = max(rows, key=lambda row: float(row['linear']))
    text = (
        f'# linear probe {_cell(best["linear"])} %, nearest neighbours {_cell(best["knn"])} %, '
        f'on {num_test} test images\n'
        'model = dict(\n'
        f'    teacher=dict(layers=[{best["layer"]!r}]),\n'
        f"    timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep={best['timestep']}))\n"
    )
    write_text(path, text)
    return text
