"""What a diffusion model knows, layer by layer and timestep by timestep: linear and k-nearest-neighbour probes."""

import argparse
import csv
import json
import os
from pathlib import Path

import mmcls  # noqa: F401
import numpy as np
import torch
from mmcls.configs import find_class
from mmcls.engine.data_check import walk_datasets
from mmcls.models.images import check_diffusion_range, to_diffusion_range
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from probe_report import COLUMNS, draw_heat_map, write_snippet
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('teacher', help='config with model.teacher, such as a distillation config')
    parser.add_argument('data', help='config with train_dataloader and val_dataloader')
    parser.add_argument('--layers', nargs='+', help='layers to probe; by default every residual or transformer block')
    parser.add_argument(
        '--timesteps', nargs='+', type=int, default=[0, 50, 100, 200, 300, 400, 600, 800], help='(%(default)s)'
    )
    parser.add_argument('--train', type=int, default=2000, help='images to fit the probes on (%(default)s)')
    parser.add_argument('--test', type=int, default=2000, help='images to test them on (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=64, help='(%(default)s)')
    parser.add_argument('--out', type=Path, help='work_dirs/probe/<name of the teacher config>')
    return parser, parser.parse_args()


def build_teacher(settings: dict, layers: list[str] | None) -> torch.nn.Module:
    """The teacher, reading ``layers`` or each of its blocks, on a GPU where there is one."""
    if layers is None:
        whole = MODELS.build(settings | {'layers': [find_class('model.teacher', settings).last_layer]})
        names = [name for name, _ in whole.network.named_modules()]
        blocks = ('resnets', 'transformer_blocks')
        layers = [name for name in names if name.rpartition('.')[2].isdigit() and name.split('.')[-2] in blocks]
        if 'transformer_blocks.0' not in names:
            layers = [name for name in layers if '.resnets.' in name]
        layers.sort(key=lambda name: name.split('.')[0])  # down, middle, up: as they are called
    return MODELS.build(settings | {'layers': layers}).to('cuda' if torch.cuda.is_available() else 'cpu')


def build_images(config: Config, split: str, limit: int, seed: int = 0) -> Dataset:
    """A fixed random part of a split, to be read without augmentation."""
    settings = config[f'{split}_dataloader'].dataset
    if split == 'train':
        plain = innermost(config.val_dataloader.dataset)[0].pipeline
        for dataset in innermost(settings):
            dataset.pipeline = plain
    dataset = DATASETS.build(settings)
    order = np.random.default_rng(seed).permutation(len(dataset))[:limit]
    return Subset(dataset, sorted(order.tolist()))


def innermost(settings: dict) -> list[dict]:
    """The data set's config, or those that wrappers such as RepeatDataset and ConcatDataset hold."""
    return [dataset for _, dataset in walk_datasets(settings, '') if not {'dataset', 'datasets'} & dataset.keys()]


def read(images: Dataset) -> list[dict]:
    """Every sample, so that images are decoded once for all timesteps; pixels stay uint8, as ``PackInputs`` gives them.

    Decoding leaves Python to the other threads.
    """
    return thread_map(images.__getitem__, range(len(images)), desc='reading', unit='image', leave=False, disable=None)


@torch.no_grad()
def extract(
    teacher, images: list[dict], preprocessor, t: int, batch_size: int, bar: tqdm
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pooled features ``(images, C)`` of every layer at one timestep, in one pass, and the labels."""
    features, labels = {layer: [] for layer in teacher.layers}, []
    for samples in DataLoader(images, batch_size, collate_fn=lambda batch: batch):
        batch = preprocessor(
            {'inputs': [s['inputs'] for s in samples], 'data_samples': [s['data_samples'] for s in samples]}
        )
        pixels = to_diffusion_range(batch['inputs'], preprocessor)
        check_diffusion_range(pixels)
        truth = torch.cat([sample.gt_label for sample in batch['data_samples']]).to(pixels.device)
        for layer, feature in teacher(pixels, torch.full((len(pixels),), t, device=pixels.device), truth).items():
            features[layer].append(feature.mean((2, 3)).cpu())
        labels.append(truth.cpu())
        bar.update(len(pixels))
    return {layer: torch.cat(parts).numpy() for layer, parts in features.items()}, torch.cat(labels).numpy()


def probe(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> dict[str, float]:
    """Test accuracy in % of a linear and of a 10-nearest-neighbour (cosine) probe on standardised features."""
    neighbors = KNeighborsClassifier(min(10, len(train)), metric='cosine')
    probes = {'linear': LogisticRegression(C=0.1, max_iter=2000), 'knn': neighbors}
    return {
        name: 100 * make_pipeline(StandardScaler(), fit).fit(train, train_labels).score(test, test_labels)
        for name, fit in probes.items()
    }


def probe_timestep(teacher, splits: list[list[dict]], preprocessor, t: int, batch_size: int, bar: tqdm) -> list[dict]:
    """The rows of one timestep, one a layer."""
    torch.manual_seed(t)  # a resumed run then draws the noise that an uninterrupted one draws
    (train, train_labels), (test, test_labels) = (
        extract(teacher, split, preprocessor, t, batch_size, bar) for split in splits
    )
    rows = []
    for layer, (channels, stride) in teacher.feature_info.items():
        scores = probe(train[layer], train_labels, test[layer], test_labels)
        found = {name: f'{score:.2f}' for name, score in scores.items()}
        rows.append({'layer': layer, 'timestep': t, 'channels': channels, 'stride': stride} | found)
    return rows


def load_rows(out: Path, settings: dict, parser: argparse.ArgumentParser) -> list[dict]:
    """The rows of an earlier, unfinished run with the same settings."""
    record = out / 'probe.json'
    if record.is_file() and (earlier := json.loads(record.read_text())) != settings:
        different = ', '.join(key for key in settings if settings[key] != earlier.get(key))
        parser.error(f'{out} holds a probe with other settings ({different}). Give another folder by --out.')
    out.mkdir(parents=True, exist_ok=True)
    replace(record, json.dumps(settings, indent=2) + '\n')
    table = out / 'probe.csv'
    return list(csv.DictReader(table.open())) if table.is_file() else []


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.with_suffix('.unfinished').write_text(text)
    os.replace(path.with_suffix('.unfinished'), path)


def table(rows: list[dict]) -> str:
    return '\n'.join([','.join(COLUMNS), *(','.join(str(row[key]) for key in COLUMNS) for row in rows), ''])


def main() -> None:
    parser, args = parse_args()
    init_default_scope('mmpretrain')
    for path in (args.teacher, args.data):
        if not Path(path).is_file():
            parser.error(f'There is no config {path!r} in {Path.cwd()}.')
    teacher_config, config = Config.fromfile(args.teacher), Config.fromfile(args.data)
    if 'teacher' not in teacher_config.get('model', {}):
        parser.error(f'{args.teacher} has no model.teacher: give a distillation config.')
    if not {'train_dataloader', 'val_dataloader'} <= config.keys():
        parser.error(f'{args.data} lacks train_dataloader or val_dataloader: give a config of a data set.')
    teacher = build_teacher(teacher_config.model.teacher.to_dict(), args.layers)
    if wrong := [t for t in args.timesteps if not 0 <= t < teacher.num_timesteps]:
        parser.error(f'--timesteps {wrong}: expected 0 to {teacher.num_timesteps - 1}.')
    preprocessor = MODELS.build({'type': 'ClsDataPreprocessor'} | config.get('data_preprocessor', {}))
    preprocessor.to('cuda' if torch.cuda.is_available() else 'cpu')
    splits = build_images(config, 'train', args.train), build_images(config, 'val', args.test)
    if teacher.class_conditioning.mode == 'true':
        teacher.class_conditioning.set_dataset_classes(splits[0].dataset.metainfo['classes'])

    settings = {key: value for key, value in vars(args).items() if key not in ('out', 'batch_size')}
    settings |= {'layers': list(teacher.layers), 'config': teacher_config.model.teacher.to_dict()}
    out = args.out or Path('work_dirs/probe', Path(args.teacher).stem)
    rows = load_rows(out, settings, parser)
    done = {int(row['timestep']) for row in rows}
    waiting = [t for t in args.timesteps if t not in done]
    sizes = [len(split) for split in splits]
    if waiting:
        splits = [read(split) for split in splits]
    with tqdm(total=len(waiting) * sum(sizes), unit='image', disable=None) as bar:
        for t in waiting:
            bar.set_description(f't = {t}')
            rows += probe_timestep(teacher, splits, preprocessor, t, args.batch_size, bar)
            replace(out / 'probe.csv', table(rows))
    draw_heat_map(rows, out / 'probe.png')
    print(write_snippet(rows, sizes[1], out / 'best.py'))


if __name__ == '__main__':
    main()
