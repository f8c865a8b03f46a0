"""A classifier of one's own classes: fine-tuned from a student, beside the same network from scratch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn

from ..errors import UnusableInputError
from ..files import write_text, written_whole
from ..weights import load_checkpoint
from .classify_config import CONFIG, LISTS, SCRATCH, STUDENT, WEIGHTS, Tuning, config_text
from .job_runner import run_jobs, runs_at_a_time
from .jobs import Job
from .labelled_images import split_images
from .onnx_export import ExportError, write_onnx
from .starts import Start, difference, judge
from .student import NormalizedStudent, image_size_of, normalized, open_student

RATES = (3e-4, 1e-3, 3e-3)
RESULT, ONNX = 'result.json', 'classifier.onnx'
FEWEST, PASSES = 600, 30  # steps, and times that each image is seen


@dataclass
class Result:
    """What a classifier is worth.

    Attributes:
        start: What it was trained from, ``'student'`` or ``'scratch'``: the better one.
        accuracy: In %, on the images for validation, of each start.
        error: Standard errors of that.
        difference: Of the two starts, and its standard error; None without scratch.
        rate: Learning rate of each start.
        count: Images for validation.
    """

    start: str
    accuracy: dict[str, float]
    error: dict[str, float]
    difference: tuple[float, float] | None
    rate: dict[str, float]
    count: int

    def __str__(self) -> str:
        names = {'student': 'the student', 'scratch': 'scratch'}
        parts = [
            f'from {names[start]} {value:.1f} % (standard error {self.error[start]:.1f})'
            for start, value in self.accuracy.items()
        ]
        if self.difference:
            parts.append('difference {:+.1f} ({:.1f})'.format(*self.difference))
        return f'{", ".join(parts)}, on {self.count:,} images; kept: from {names[self.start]}'


def classify(
    images: str | Path,
    student: str | Path,
    out: str | Path,
    *,
    val: str | Path | None = None,
    val_share: float = 0.2,
    scratch: bool = True,
    rates: Sequence[float] = RATES,
    iterations: int | None = None,
    image_size: int | None = None,
    batch_size: int = 64,
    parallel: int | None = None,
) -> Result:
    """Fine-tune a student on a folder of classes, and the same network from scratch beside it.

    For each start the learning rate is chosen on the images for validation. What is finished is skipped, what was
    interrupted goes on.

    Args:
        images: Folder with a subfolder a class; or with ``train`` and perhaps ``val``, which are such folders.
        student: Checkpoint of a distillation, or folder of a published student.
        out: Folder of the results. It gets the better start's weights (``classifier.pth``) with their config
            (``classifier.py``), the same with the normalisation inside as ``classifier.onnx``, the names of the classes
            (``classes.json``), and ``result.json``.
        val: Folder for validation, of the same classes; by default ``val`` in ``images``, or a share of them.
        val_share: That share, of each class.
        scratch: Whether to train from scratch, too.
        rates: Learning rates to choose from.
        iterations: Steps of each training; by default as many as see each image 30 times, and 600 or more.
        image_size: Side of the images in pixels; by default that of the distillation.
        batch_size: Images of a step.
        parallel: Trainings at a time; by default one a core or, on a GPU, which a large network may fill, one.

    Returns:
        Result: Its accuracies; printed, it is a sentence.

    Raises:
        RepFusionError: When images or student cannot be used, ``out`` is of another call, or a training fails.

    Examples:
        >>> result = classify('flowers', 'work_dirs/photos/student', 'work_dirs/flowers')
        >>> result.accuracy, result.difference
        ({'student': 81.2, 'scratch': 70.1}, (11.1, 2.6))
    """
    init_default_scope('mmpretrain')
    if not MMLogger.check_instance_created('classify'):
        MMLogger.get_instance('classify', log_level='WARNING')
    images, out = Path(images).resolve(), Path(out).resolve()
    if images == out:
        raise UnusableInputError('The results would go into the folder of the images. Give another one.')
    _check(val_share, rates, iterations, batch_size, parallel)
    backbone, settings, training = open_student(student)
    size = image_size or image_size_of(student)
    if size is None:
        raise UnusableInputError('The size of the images is not known from the student: give image_size.')
    network = normalized(backbone, training)
    classes, *parts = split_images(images, val and Path(val).resolve(), val_share, out)
    splits = dict(zip(LISTS, parts, strict=True))
    steps = iterations or max(FEWEST, PASSES * len(splits['train'].entries) // batch_size)
    tuning = Tuning(out, size, batch_size, steps, list(rates), scratch)
    trained = {'init_cfg': {'type': 'Pretrained', 'checkpoint': str(out / STUDENT)}}
    starts = {CONFIG: settings | trained} | ({SCRATCH: settings} if scratch else {})
    neck = training['model'].get('neck')
    configs = {name: config_text(tuning, start, network, neck, classes, splits) for name, start in starts.items()}
    _write(out, configs | {LISTS[name]: split.annotations(classes) for name, split in splits.items()}, backbone)
    if not (out / RESULT).is_file():
        jobs = _plan(tuning)
        at_a_time = parallel or (1 if torch.cuda.is_available() else runs_at_a_time())
        print(f'trainings: {len(jobs)}, of {steps:,} steps, {at_a_time} at a time', flush=True)
        run_jobs(list(jobs.values()), at_a_time)
        _finish(out, jobs, classes, size)
    return Result(**json.loads((out / RESULT).read_text()))


def _check(
    val_share: float, rates: Sequence[float], iterations: int | None, batch_size: int, parallel: int | None
) -> None:
    if not 0 < val_share < 1:
        raise UnusableInputError(f'val_share={val_share}: expected a share between 0 and 1.')
    if not rates or min(rates) <= 0:
        raise UnusableInputError(f'rates={list(rates)}: expected one positive number or more.')
    for name, value, least in (
        ('iterations', iterations, 10),
        ('batch_size', batch_size, 2),
        ('parallel', parallel, 1),
    ):
        if value is not None and value < least:
            raise UnusableInputError(f'{name}={value}: at least {least} is needed.')


def _write(out: Path, files: dict[str, str], backbone: nn.Module) -> None:
    """Write what the trainings read, or find it as an interrupted call wrote it.

    Raises:
        UnusableInputError: When that call had other arguments, or there were other images.
    """
    others = [name for name, text in files.items() if (out / name).is_file() and (out / name).read_text() != text]
    weights = backbone.state_dict()
    if (out / STUDENT).is_file():
        earlier = load_checkpoint(out / STUDENT)['state_dict']
        same = earlier.keys() == weights.keys() and all(torch.equal(earlier[key], weights[key]) for key in weights)
        others += [] if same else [STUDENT]
    if others:
        raise UnusableInputError(
            f'{out / others[0]} was written for another student, other arguments or other images. Repeat the call as '
            'it was, or give another --out.'
        )
    for name, text in files.items():
        write_text(out / name, text)
    with written_whole(out / STUDENT) as partial:
        torch.save({'state_dict': weights}, partial)


def _plan(tuning: Tuning) -> dict[tuple[str, float], Job]:
    """The training of each start at each learning rate."""
    configs = {'student': CONFIG} | ({'scratch': SCRATCH} if tuning.scratch else {})
    return {
        (start, rate): Job(
            f'{start}, learning rate {rate:g}',
            str(tuning.out / name),
            tuning.out / 'trainings' / f'{start}_lr{rate:g}',
            {'optim_wrapper.optimizer.lr': rate},
        )
        for start, name in configs.items()
        for rate in tuning.rates
    }


def _finish(out: Path, jobs: dict[tuple[str, float], Job], classes: list[str], size: int) -> None:
    """Judge the trainings, and write what the better start led to."""
    correct: dict[str, dict[float, Tensor]] = {}
    for (start, rate), job in jobs.items():
        correct.setdefault(start, {})[rate] = _find_correct(job)
    found = {start: judge(rates) for start, rates in correct.items()}
    best = max(found, key=lambda start: found[start].accuracy)  # the student, where they are equal
    _export(out, jobs[best, found[best].rate], classes, size)
    write_text(out / 'classes.json', json.dumps(classes))
    write_text(out / RESULT, json.dumps(asdict(_result(found, best)), indent=1))


def _result(found: dict[str, Start], best: str) -> Result:
    return Result(
        start=best,
        accuracy={name: start.accuracy for name, start in found.items()},
        error={name: start.error for name, start in found.items()},
        difference=difference(found['student'], found['scratch']) if 'scratch' in found else None,
        rate={name: start.rate for name, start in found.items()},
        count=len(found[best].correct),
    )


def _load(job: Job) -> tuple[nn.Module, Config]:
    """The classifier that a training left, in evaluation mode."""
    config = Config.fromfile(job.config)
    model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor})
    model.load_state_dict(load_checkpoint(job.work_dir / f'iter_{config.train_cfg.max_iters}.pth')['state_dict'])
    return model.eval(), config


@torch.no_grad()
def _find_correct(job: Job) -> Tensor:
    """Whether each image for validation is classified correctly."""
    model, config = _load(job)
    images = DATASETS.build(config.val_dataloader.dataset)
    model.to('cuda' if torch.cuda.is_available() else 'cpu')
    correct = []
    for indices in torch.arange(len(images)).split(config.val_dataloader.batch_size):
        samples = model.test_step(images.__getitems__(indices.tolist()))
        correct += [bool(sample.pred_label == sample.gt_label) for sample in samples]
    return torch.tensor(correct)


class Probabilities(nn.Module):
    """A classifier's probabilities ``(N, classes)`` of normalised images, as a tuple of one."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.model(images, mode='tensor').softmax(1),)


def _export(out: Path, job: Job, classes: list[str], size: int) -> None:
    model, config = _load(job)
    with written_whole(out / WEIGHTS) as partial:
        torch.save({'meta': {'dataset_meta': {'classes': classes}}, 'state_dict': model.state_dict()}, partial)
    settings = config.data_preprocessor
    network = NormalizedStudent(Probabilities(model), settings.mean, settings.std, not settings.to_rgb)
    try:
        with written_whole(out / ONNX) as partial:
            write_onnx(network.eval(), size, ['probabilities'], partial)
    except ExportError as error:
        print(f'There is no {ONNX}. {error}', flush=True)
