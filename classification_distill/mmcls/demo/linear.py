"""What a linear classifier tells from each start's features, and from those of the diffusion model itself."""

from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from ..apis.jobs import Job
from ..apis.probe import DEVICE
from ..apis.teacher import load_teacher
from ..configs import ROOT
from ..engine import prepare_config
from ..engine.representation import linear_classifier
from ..models.images import to_pixels
from ..models.teachers import BaseTeacher
from ..progress import ProgressBar
from .cifar10 import has_bfloat16
from .comparison import NUM_TUNING_SEEDS, Comparison
from .report import write_rows

TIMESTEPS = (20, 60, 120)  # of 1,000, at which the teacher is read
BATCH = 250
TEACHER = 'the diffusion model itself'
ROW = ('start', 'labels', 'seed', 'accuracy')


class Splits:
    """The images of a comparison, as its networks take them.

    Args:
        comparison: Whose data sets are loaded.

    Attributes:
        preprocessor: What has normalised the inputs.
        inputs: All images, ``(N, 3, H, W)``: those of the most labels, of validation, of the test.
        labels: Classes ``(N,)``.
        train, val, test: Their positions.
        labelled: Positions of the images whose classes a fine-tuning with so many labels sees, by number and seed.
    """

    def __init__(self, comparison: Comparison):
        start, rate = comparison.scratches[0], comparison.rates[0]
        config = _config(comparison.jobs[start, max(comparison.label_counts), rate, comparison.seeds[0]])
        self.preprocessor = MODELS.build(config.data_preprocessor)
        parts = [_load(config[f'{split}_dataloader']) for split in ('train', 'val', 'test')]
        self.inputs = torch.cat([self.preprocessor(batch, training=False)['inputs'] for batch in parts])
        self.labels = torch.cat([batch['data_samples'].gt_label for batch in parts])
        self.train, self.val, self.test = torch.arange(len(self.labels)).split([len(b['inputs']) for b in parts])
        positions = {path: index for index, path in enumerate(parts[0]['data_samples'].img_path)}
        self.labelled = {}
        for count, seed in product(comparison.label_counts, comparison.seeds):
            some = _load(_config(comparison.jobs[start, count, rate, seed]).train_dataloader)
            self.labelled[count, seed] = torch.tensor([positions[path] for path in some['data_samples'].img_path])

    def accuracy(self, features: Tensor, labelled: Tensor, judged: Tensor) -> float:
        """In %, of the linear classifier of ``labelled`` images on ``judged`` ones."""
        model = linear_classifier().fit(features[labelled].numpy(), self.labels[labelled].numpy())
        return 100 * model.score(features[judged].numpy(), self.labels[judged].numpy())


def _config(job: Job) -> Config:
    with chdir(ROOT / job.tree):
        config = prepare_config(job.config, job.cfg_options[1:])
    init_default_scope(config.default_scope)
    return config


def _load(dataloader: dict) -> dict:
    """All images of a data set, as one batch."""
    with chdir(ROOT / 'classification_distill'):
        dataset = Runner.build_dataloader(dataloader).dataset
    return dataset.__getitems__(range(len(dataset)))


def write(comparison: Comparison, teacher: str, folder: Path, name: str) -> str:
    """Write ``linear_<name>.csv`` with the test accuracy of each start, number of labels and seed; return the table.

    Every start's network is read as it is before it is fine-tuned, averaged over its last map. The diffusion model is
    read, noised, at the layer and timestep that are best on validation images, over the few numbers of labels.

    Args:
        comparison: Whose starts are read; what they need is done.
        teacher: The diffusion model.
        folder: Where to write.
        name: Which part of the demo it is.
    """
    MMLogger.get_instance('demo', log_level='WARNING')  # loading a checkpoint is no news
    splits = Splits(comparison)
    where, rows = _read_teacher(comparison, teacher, splits)
    rows += _read_students(comparison, splits)
    write_rows(folder / f'linear_{name}.csv', ROW, rows)
    counts = comparison.label_counts
    lines = [['start', *(f'{count:,} labels' for count in counts)], ['---'] * (len(counts) + 1)]
    for start in dict.fromkeys(start for start, *_ in rows):
        values = [[row[-1] for row in rows if row[:2] == (start, count)] for count in counts]
        lines.append([start, *(f'{mean(v):.1f} ({stdev(v):.1f})' if v else '' for v in values)])
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    how = f'test images, mean (deviation) of {len(comparison.seeds)} seeds; the diffusion model is read at {where}'
    return f'Accuracy of a linear classifier of features, %, {how}:\n\n{table}'


def _read_students(comparison: Comparison, splits: Splits) -> Iterator[tuple]:
    for start in ProgressBar(comparison.starts, 'linear classifiers', unit='start'):
        counts = [count for count in comparison.label_counts if (start, count) in comparison.pairs]
        for seed in comparison.seeds:
            features = _student_features(comparison.jobs[start, counts[0], comparison.rates[0], seed], splits)
            for count in counts:
                accuracy = splits.accuracy(features, splits.labelled[count, seed], splits.test)
                yield start, count, seed, round(accuracy, 2)


@torch.no_grad()
def _student_features(job: Job, splits: Splits) -> Tensor:
    """``(N, C)`` of all images, by the network that a fine-tuning starts from."""
    config = _config(job)
    torch.manual_seed(config.randomness.seed)
    model: ImageClassifier = MODELS.build(config.model)
    with redirect_stdout(None):  # MMEngine names the checkpoint of each network
        model.init_weights()
    model.eval().to(DEVICE)
    parts = [model.extract_feat(batch.to(DEVICE), stage='neck')[0].cpu() for batch in splits.inputs.split(BATCH)]
    return torch.cat(parts)


def _read_teacher(comparison: Comparison, source: str, splits: Splits) -> tuple[str, list[tuple]]:
    """Where it is read best, and its rows."""
    dtype = 'bfloat16' if has_bfloat16() else 'float32'
    teacher = load_teacher(source, 'blocks', noise='forward', dtype=dtype).to(DEVICE)
    few = [count for count in comparison.label_counts if count < len(splits.train)] or comparison.label_counts
    choosing = [(count, seed) for count in few for seed in comparison.seeds[:NUM_TUNING_SEEDS]]
    seen = len(splits.train) + len(splits.val)
    best = (-1.0, '', 0, torch.empty(0))
    with ProgressBar(total=len(TIMESTEPS) * seen + len(splits.test), desc='diffusion model', unit='image') as bar:
        for t in TIMESTEPS:
            for layer, features in _all_features(teacher, splits, slice(0, seen), t, bar, seed=t).items():
                scores = [splits.accuracy(features, splits.labelled[pair], splits.val) for pair in choosing]
                best = max(best, (mean(scores), layer, t, features), key=lambda row: row[0])
        _, layer, t, features = best
        # What comes after the layer is left out.
        teacher = load_teacher(source, [layer], noise='forward', dtype=dtype).to(DEVICE)
        tested = teacher_features(teacher, splits, slice(seen, None), t, bar, seed=t)
    features = torch.cat([features, tested])
    rows = []
    for count in comparison.label_counts:
        for seed in comparison.seeds:
            accuracy = splits.accuracy(features, splits.labelled[count, seed], splits.test)
            rows.append((TEACHER, count, seed, round(accuracy, 2)))
    return f'{layer}, t = {t}', rows


def teacher_features(
    teacher: BaseTeacher, splits: Splits, which: slice | Tensor, t: int, bar: ProgressBar, seed: int
) -> Tensor:
    """Averages ``(N, C)`` of some images by the teacher's one layer, with the noise of a seed."""
    (features,) = _all_features(teacher, splits, which, t, bar, seed).values()
    return features


@torch.no_grad()
def _all_features(
    teacher: BaseTeacher, splits: Splits, which: slice | Tensor, t: int, bar: ProgressBar, seed: int
) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    parts = []
    for batch in splits.inputs[which].split(BATCH):
        images = to_pixels(batch, splits.preprocessor).to(DEVICE) / 127.5 - 1
        features = teacher(images, torch.full((len(images),), t, device=DEVICE), pooled=True)
        parts.append({layer: feature.flatten(1).float().cpu() for layer, feature in features.items()})
        bar.update(len(images))
    return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}
