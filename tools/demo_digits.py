"""The demo on real digits: students of a small DPM, fine-tuned with few labels to classify."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from demo_report import Comparison
from jobs import Job
from prepare_data.digits import FOLDER, is_complete, write_digits

WORK_DIR = Path(__file__).resolve().parents[1] / 'work_dirs' / 'demo'
HINT = 'configs/digits-hint/ddpm-r18_hint'
KD = 'configs/kd/r18-r18_kd_digits'
FINETUNE = 'configs/baseline/r18_b64_digits_finetune'

# Ways to start: name -> (distillation config, its --cfg-options).
_REINFORCE = {'REINFORCE': (HINT, {})}
_POLICIES = _REINFORCE | {
    **{f'fixed t = {t}': (f'{HINT}_fixed', {'model.timestep_policy.timestep': t}) for t in (0, 100, 400, 800)},
    'uniform t': (f'{HINT}_uniform', {}),
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
        num_seeds: Seeds of labels and fine-tuning.
        distil_once: Whether all seeds fine-tune the same student; else each distils anew.
        epochs: Epochs of each distillation.
    """

    starts: dict[str, tuple[str, dict]]
    label_counts: tuple[int, ...]
    num_seeds: int
    distil_once: bool = False
    epochs: int = 100


QUICK = Part(_REINFORCE, (100,), 3, distil_once=True)
FULL = Part(_POLICIES, (50, 100, 1000), 5)
LOSSES = Part(_LOSSES, (100,), 3, epochs=30)
REWARDS = Part(_REWARDS, (50, 100), 3)


def prepare_data() -> None:
    """Write the digits, if they are not there."""
    if not is_complete(FOLDER):
        write_digits(FOLDER)


def plan(part: Part) -> list[Comparison]:
    """All fine-tuning runs; what they build on is in their ``needs``."""
    jobs = {}
    for start, labels, seed in product(['scratch', *part.starts], part.label_counts, range(part.num_seeds)):
        distillation = None
        if start != 'scratch':
            distil_seed = 0 if part.distil_once else seed
            distillation = _distillation(start, *part.starts[start], part.epochs, distil_seed)
        jobs[start, labels, seed] = _finetuning(start, labels, seed, distillation)
    return [Comparison('test accuracy, %', 'accuracy/top1', jobs)]


def _distillation(start: str, config: str, options: dict, epochs: int, seed: int) -> Job:
    if config == KD:
        teacher = _finetuning('scratch', 1000, seed, None)
        source = {'model.teacher.checkpoint': teacher.work_dir / 'iter_320.pth'}
    else:
        teacher = Job('DPM on digits', 'configs/teacher/ddpm_digits.py', WORK_DIR / 'teacher')
        source = {'model.teacher.pretrained': teacher.work_dir / 'pipeline'}
    # Named by what it is, so that parts of the demo share it.
    settings = [f'{key.rpartition(".")[2]}_{value}' for key, value in options.items()]
    work_dir = WORK_DIR / 'distill' / '_'.join([Path(config).name, *settings, f'{epochs}epochs', f'seed{seed}'])
    length = {'train_cfg.max_epochs': epochs, 'param_scheduler.T_max': epochs}
    options = source | length | {'randomness.seed': seed} | options
    return Job(f'distil, {start}, seed {seed}', f'{config}.py', work_dir, options, (teacher,))


def _finetuning(start: str, labels: int, seed: int, distillation: Job | None) -> Job:
    options = {'train_dataloader.dataset.ann_file': f'meta/train_{labels}_{seed}.txt', 'randomness.seed': seed}
    origin = 'scratch' if distillation is None else f'from_{distillation.work_dir.name}'
    work_dir = WORK_DIR / 'finetune' / f'{origin}_{labels}labels_seed{seed}'
    name = f'fine-tune, {start}, {labels} labels, seed {seed}'
    if distillation is None:
        return Job(name, f'{FINETUNE}.py', work_dir, options)
    options['model.backbone.init_cfg.checkpoint'] = (
        distillation.work_dir / f'epoch_{distillation.options["train_cfg.max_epochs"]}.pth'
    )
    return Job(name, f'{FINETUNE}_repfusion.py', work_dir, options, (distillation,))
