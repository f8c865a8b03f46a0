"""The demo on real digits: students of a small DPM, fine-tuned with few labels to classify."""

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ..apis.jobs import Job
from ..configs import ROOT
from .comparison import SCRATCH, Comparison

WORK_DIR = ROOT / 'work_dirs' / 'demo'
DATA_SCRIPT = 'digits.py'
HINT = 'configs/digits-hint/ddpm-r18_hint'
KD = 'configs/kd/r18-r18_kd_digits'
FINETUNE = 'configs/baseline/r18_b64_digits_finetune'
ITERATIONS = 320  # of fine-tuning, as in its config
# Learning rates of fine-tuning to choose from, for each start and number of labels; and where labels are fewest.
RATES, LOW_RATES = (0.02, 0.05, 0.1), (0.005, 0.02, 0.08)

# Ways to start: name -> (distillation config, its --cfg-options).
_FIXED = {'fixed t = 100': (f'{HINT}_fixed', {'model.timestep_policy.timestep': 100})}
_WITHOUT_LABELS = {'REINFORCE': (f'{HINT}_recipe', {}), 'fixed t = 100': (f'{HINT}_recipe_fixed', {})}
_POLICIES = {'REINFORCE': (HINT, {}), 'uniform t': (f'{HINT}_uniform', {})} | _FIXED
# What configs/digits-hint/ddpm-r18_hint_maps.py sets.
_MAPS = {'model.backbone.out_indices': '(1,)', 'model.distill_loss.pooled': False, 'find_unused_parameters': True}
_FEATURES = {
    **{f'{name}, maps': (config, options | _MAPS) for name, (config, options) in _POLICIES.items()},
    'REINFORCE, raw features': (f'{HINT}_raw', {}),
}
_LOSSES = {
    'hint, L2': (HINT, {}),
    'hint, L1': (HINT, {'model.distill_loss.norm': 'l1'}),
    'hint, smooth L1': (HINT, {'model.distill_loss.norm': 'smooth_l1'}),
    'hint, cosine': (HINT, {'model.distill_loss.norm': 'cosine'}),
    'hint, L2, raw features': (f'{HINT}_raw', {}),
    'AT': ('configs/digits-at/ddpm-r18_at', {}),
    'RKD': ('configs/digits-rkd/ddpm-r18_rkd', {}),
    'CRD': ('configs/digits-crd/ddpm-r18_crd', {}),
    'InfoNCE': ('configs/digits-infonce/ddpm-r18_infonce', {}),
    'logit KD of a classifier': (KD, {}),
}
_REWARDS = {
    'minus cross-entropy': (HINT, {}),
    'minus least-squares residual': (f'{HINT}_least_squares', {}),
    'agreement of views, no labels': (f'{HINT}_agreement', {}),
    'none (uniform t)': (f'{HINT}_uniform', {}),
}


@dataclass(frozen=True)
class Part:
    """What one part of the demo compares with training from scratch.

    Attributes:
        starts: Ways to start.
        label_counts: Numbers of labels to fine-tune with.
        num_seeds: Seeds of labels, distillation and fine-tuning.
        epochs: Epochs of each distillation.
        rates: Learning rates of fine-tuning to choose from.
        highlighted: The start that is compared with all others, too.
    """

    starts: dict[str, tuple[str, dict]]
    label_counts: tuple[int, ...]
    num_seeds: int = 5
    epochs: int = 100
    rates: tuple[float, ...] = RATES
    highlighted: str | None = None


QUICK = Part({'REINFORCE': _WITHOUT_LABELS['REINFORCE']}, (20,), rates=LOW_RATES, highlighted='REINFORCE')
FEW = Part(_WITHOUT_LABELS, (10, 20, 100), rates=LOW_RATES, highlighted='REINFORCE')
FULL = Part(_POLICIES | _FEATURES, (50, 100, 1000))
LOSSES = Part(_LOSSES, (100,), epochs=30)
REWARDS = Part(_REWARDS, (50, 100))


def plan(part: Part) -> list[Comparison]:
    """All fine-tunings; what they build on is in their ``needs``."""
    jobs = {}
    for labels, rate, seed in product(part.label_counts, part.rates, range(part.num_seeds)):
        for start, options in SCRATCH.items():
            jobs[start, labels, rate, seed] = _finetuning(start, labels, rate, seed, None, options)
        for start, (config, options) in part.starts.items():
            student = _distillation(start, config, options, part.epochs, seed)
            jobs[start, labels, rate, seed] = _finetuning(start, labels, rate, seed, student, {})
    title = 'accuracy on digits, %'
    return [Comparison(title, 'accuracy/top1', jobs, f'iter_{ITERATIONS}.pth', highlighted=part.highlighted)]


def _distillation(start: str, config: str, options: dict, epochs: int, seed: int) -> Job:
    if config == KD:
        teacher = _finetuning('teacher', 1000, RATES[1], seed, None, {})
        source = {'model.teacher.checkpoint': teacher.work_dir / f'iter_{ITERATIONS}.pth'}
    else:
        once = {'custom_hooks.1.interval': 80}  # samples are drawn at the end alone
        teacher = Job('DPM on digits', 'configs/teacher/ddpm_digits.py', WORK_DIR / 'teacher', once)
        source = {'model.teacher.pretrained': teacher.work_dir / 'pipeline'}
    # Named by what it is, so that parts of the demo share it.
    settings = [re.sub(r'[^\w.]', '', f'{key.rpartition(".")[2]}_{value}') for key, value in options.items()]
    work_dir = WORK_DIR / 'distill' / '_'.join([Path(config).name, *settings, f'{epochs}epochs', f'seed{seed}'])
    length = {'train_cfg.max_epochs': epochs, 'param_scheduler.T_max': epochs}
    options = source | length | {'randomness.seed': seed} | options
    return Job(f'distil, {start}, seed {seed}', f'{config}.py', work_dir, options, (teacher,))


def _finetuning(start: str, labels: int, rate: float, seed: int, student: Job | None, options: dict) -> Job:
    options = options | {
        'train_dataloader.dataset.dataset.ann_file': f'meta/train_{labels}_{seed}.txt',
        'optim_wrapper.optimizer.lr': rate,
        'randomness.seed': seed,
    }
    name = f'fine-tune, {start}, {labels} labels, lr {rate:g}, seed {seed}'
    origin, config, needs = f'scratch{"_torch" if "model.backbone.init_cfg" in options else ""}', FINETUNE, ()
    if student is not None:
        origin, config, needs = f'from_{student.work_dir.name}', f'{FINETUNE}_repfusion', (student,)
        checkpoint = student.work_dir / f'epoch_{student.options["train_cfg.max_epochs"]}.pth'
        options['model.backbone.init_cfg.checkpoint'] = checkpoint
    work_dir = WORK_DIR / 'finetune' / f'{origin}_{labels}labels_lr{rate:g}_seed{seed}'
    return Job(name, f'{config}.py', work_dir, options, needs, logs='accuracy/top1')
