"""RepFusion on real digits: train a DPM, distil it, fine-tune with few labels, compare with training from scratch."""

import argparse
import os
from itertools import product
from pathlib import Path

import demo_report
from jobs import Job, run_jobs
from prepare_data.digits import FOLDER, is_complete, write_digits

WORK_DIR = Path(__file__).resolve().parents[1] / 'work_dirs' / 'demo'
DISTILL = 'configs/digits-hint/ddpm-r18_hint'
FINETUNE = 'configs/baseline/r18_b64_digits_finetune'
FIXED_TIMESTEPS = (0, 100, 400, 800)


def plan(full: bool) -> dict[tuple[str, int, int], Job]:
    """All fine-tuning runs as ``(start, number of labels, seed) -> job``; what they build on is in their ``needs``."""
    teacher = Job('DPM on digits', 'configs/teacher/ddpm_digits.py', WORK_DIR / 'teacher')
    policies = {'REINFORCE': (DISTILL, {})}
    if full:
        for t in FIXED_TIMESTEPS:
            policies[f'fixed t = {t}'] = (f'{DISTILL}_fixed', {'model.timestep_policy.timestep': t})
        policies['uniform t'] = (f'{DISTILL}_uniform', {})
    label_counts, seeds = ((50, 100, 1000), range(5)) if full else ((100,), range(3))
    jobs = {}
    for start, labels, seed in product(['scratch', *policies], label_counts, seeds):
        distillation = None
        if start != 'scratch':
            # The short demo distils once; the full one judges the whole method, so each seed distils anew.
            distillation = _distillation(start, *policies[start], seed if full else 0, teacher)
        jobs[start, labels, seed] = _finetuning(start, labels, seed, distillation)
    return jobs


def _folder(name: str) -> str:
    return name.lower().replace(' = ', '').replace(' ', '_')


def _distillation(start: str, config: str, options: dict, seed: int, teacher: Job) -> Job:
    options = {'model.teacher.pretrained': teacher.work_dir / 'pipeline', 'randomness.seed': seed} | options
    work_dir = WORK_DIR / 'distill' / f'{_folder(start)}_seed{seed}'
    return Job(f'distil, {start}, seed {seed}', f'{config}.py', work_dir, options, (teacher,))


def _finetuning(start: str, labels: int, seed: int, distillation: Job | None) -> Job:
    options = {'train_dataloader.dataset.ann_file': f'meta/train_{labels}_{seed}.txt', 'randomness.seed': seed}
    work_dir = WORK_DIR / 'finetune' / f'{_folder(start)}_{labels}labels_seed{seed}'
    name = f'fine-tune, {start}, {labels} labels, seed {seed}'
    if distillation is None:
        return Job(name, f'{FINETUNE}.py', work_dir, options)
    options['model.backbone.init_cfg.checkpoint'] = distillation.work_dir / 'epoch_100.pth'
    return Job(name, f'{FINETUNE}_repfusion.py', work_dir, options, (distillation,))


def in_order(jobs: list[Job]) -> list[Job]:
    """The jobs and all that they need, each once, needed ones first."""
    ordered: dict[Path, Job] = {}
    for job in jobs:
        for needed in (*in_order(list(job.needs)), job):
            ordered.setdefault(needed.work_dir, needed)
    return list(ordered.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('part', nargs='?', choices=['quick', 'full'], default='quick')
    full = parser.parse_args().part == 'full'
    if not is_complete(FOLDER):
        write_digits(FOLDER)
    jobs = plan(full)
    # What others wait for first, and beside it what waits for nothing.
    ordered = sorted(in_order(list(jobs.values())), key=lambda job: job.config.startswith(FINETUNE))
    run_jobs(ordered, os.cpu_count())
    accuracy = {key: job.metric('accuracy/top1') for key, job in jobs.items()}
    distillations = {job.needs[0].work_dir for (start, *_), job in jobs.items() if start == 'REINFORCE'}
    histograms = [folder / 'timestep_histogram.jsonl' for folder in sorted(distillations)]
    print(demo_report.write(accuracy, histograms, WORK_DIR, 'full' if full else 'quick'))


if __name__ == '__main__':
    main()
