"""Data loading with a list as long as ImageNet's: start-up, memory, the break between epochs, waiting for batches."""

import gc
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image

from ..configs import find_image_size, is_a, type_name
from ..datasets import ImagesInMemory
from ..errors import UnusableInputError
from .step import resident

CLASSES = 1000  # MMPretrain's ImageNet wants as many folders
FILES = 24  # a file takes at most 65,000 names on ext4
SIZE = (500, 375)  # as most photographs of ImageNet
QUALITY = 95  # gives 110 kB, their mean
SOURCES = {'folder': '', 'ann_file': 'lists/train.txt'}  # not meta/train.txt, which ImageNet reads unasked


def check(config: Config) -> None:
    """Raise ValueError for a config whose training set is not a list of files."""
    dataset = config.train_dataloader.dataset
    if not is_a(dataset, CustomDataset, DATASETS):
        raise UnusableInputError(
            f'its training set {type_name(dataset)} is none of files in folders, as CustomDataset and ImageNet are.'
        )


def make_files(folder: Path, entries: int, with_label: bool) -> None:
    """Give a few real JPEGs ``entries`` names in folders of classes, and list the names for MMPretrain."""
    originals = []
    rng = np.random.default_rng(0)
    for index in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC)) + rng.normal(0, 6, (*SIZE[::-1], 3))
        buffer = io.BytesIO()
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, 'JPEG', quality=QUALITY)
        originals.append(folder / f'{index}.JPEG')
        originals[-1].write_bytes(buffer.getvalue())
    (folder / 'lists').mkdir()
    with (folder / SOURCES['ann_file']).open('w') as lines:
        for label in range(CLASSES):
            name = f'class_{label:04d}'
            (folder / 'train' / name).mkdir(parents=True)
            for index in range(label, entries, CLASSES):
                os.link(originals[index // CLASSES % FILES], f'{folder}/train/{name}/{name}_{index}.JPEG')
                lines.write(f'{name}/{name}_{index}.JPEG' + (f' {label}\n' if with_label else '\n'))


def images_per_core(config: Config, count: int = 200) -> float:
    """Images that one core loads and augments a second, by processor time, so whatever else runs on the machine."""
    init_default_scope('mmpretrain')
    if is_a(config.train_dataloader.dataset, ImagesInMemory, DATASETS):
        return _batched_images_per_core(config)
    pipeline = Compose([TRANSFORMS.build(transform) for transform in config.train_dataloader.dataset.pipeline])
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), 0, True)
        inputs = [{'img_path': f'{folder}/{index}.JPEG', 'gt_label': 0} for index in range(FILES)]
        seconds = []
        for _ in range(5):
            start = time.process_time()
            for index in range(count):
                pipeline(dict(inputs[index % len(inputs)]))
            seconds.append(time.process_time() - start)
    return count / statistics.median(seconds)


def _batched_images_per_core(config: Config, batch: int = 512) -> float:
    """Likewise of images held in memory, augmented by the processor; a GPU does that itself."""
    size = find_image_size(config, augmented=False)
    if size is None:
        raise UnusableInputError('The config does not say how large its images are, by a crop or a Resize.')
    images = np.zeros((8 * batch, 3, size, size), np.uint8)
    settings = config.model.get('data_preprocessor') or config.data_preprocessor
    preprocessor = MODELS.build(settings.to_dict())
    seconds = []
    for _ in range(8):
        start = time.process_time()
        chosen = torch.from_numpy(images[np.random.default_rng(0).integers(len(images), size=batch)])
        preprocessor({'inputs': chosen}, training=True)
        seconds.append(time.process_time() - start)
    return batch / statistics.median(seconds)


def measure(
    config: Config, entries: int, workers: list[int], step: float, folder: Path | None = None, batches: int = 30
) -> list[dict]:
    """Measure the config's training set and pipeline, with the files found by folder and by an annotation file.

    Args:
        config: Its ``train_dataloader`` is used; the data itself need not be there.
        entries: Length of the list.
        workers: Numbers of worker processes.
        step: Seconds of the step that is waited for between two batches; the processor is free meanwhile.
        batches: Batches a measurement.
        folder: Folder on the disk to measure, for temporary files.

    Returns:
        list[dict]: A row a source and number of workers: ``start_up`` in seconds, ``start_up_processor``, those that
        the processor worked, and ``start_up_memory``, its peak in bytes; ``list_memory``, which workers share;
        ``worker_memory``, what each has for itself; ``epoch_boundary``, seconds from an epoch's last batch to the next
        one's first; ``images_per_second`` when nothing else is done; ``data_share`` of the time spent waiting for
        batches between steps.
    """
    if min(workers) < 1:
        raise UnusableInputError(f'workers={workers}: what is measured are workers; give 1 or more.')
    needed = config.train_dataloader.batch_size * (1 + 2 * max(workers) + batches)
    if entries < needed:
        raise UnusableInputError(f'entries={entries}: an epoch that is measured takes {needed:,} or more.')
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as made:
        print(f'{entries} names: making ...', file=sys.stderr)
        make_files(Path(made), entries, config.train_dataloader.dataset.get('with_label', True))
        for source in SOURCES:
            print(f'{source}: measuring ...', file=sys.stderr)
            # Forked, as the workers are: nothing need be imported again.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork')) as pool:
                rows += pool.submit(_measure_source, config, made, source, workers, step, batches).result()
    return rows


def _measure_source(
    config: Config, folder: str, source: str, workers: list[int], step: float, batches: int
) -> list[dict]:
    init_default_scope('mmpretrain')
    kept = {key: config.train_dataloader.dataset[key] for key in ('type', 'pipeline', 'with_label', 'extensions')
            if key in config.train_dataloader.dataset}  # fmt: skip
    gc.collect()
    before = resident('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')
    start, processor_start = time.perf_counter(), time.process_time()
    dataset = DATASETS.build(kept | {'data_root': folder, 'data_prefix': 'train', 'ann_file': SOURCES[source]})
    start_up = {
        'source': source,
        'start_up': time.perf_counter() - start,
        'start_up_processor': time.process_time() - processor_start,
        'start_up_memory': resident('VmHWM') - before,
        'list_memory': dataset.data_bytes.nbytes + dataset.data_address.nbytes,
    }
    rows = []
    for count in workers:
        settings = config.train_dataloader.to_dict() | {'num_workers': count, 'persistent_workers': False}
        loader = Runner.build_dataloader(settings | {'dataset': dataset}, seed=0)
        rows.append(start_up | {'workers': count} | _measure_loader(loader, step, batches))
    return rows


def _measure_loader(loader, step: float, batches: int) -> dict:
    boundaries, waited, iterator = [], {}, None
    for pause in (0.0, step, step):
        start = time.perf_counter()
        del iterator  # ends the workers
        iterator = iter(loader)
        next(iterator)
        boundaries.append(time.perf_counter() - start)
        for _ in range(2 * loader.num_workers):  # what was prefetched while nobody took it
            next(iterator)
        waited[pause] = _wait(iterator, pause, batches)
    memory = [_private_memory(worker.pid) for worker in multiprocessing.active_children()]
    return {
        'worker_memory': statistics.median(memory),
        'epoch_boundary': statistics.median(boundaries[1:]),  # the first has no epoch before it
        'images_per_second': loader.batch_size * batches / waited[0.0],
        'data_share': waited[step] / (waited[step] + step * batches),
    }


def _wait(iterator, pause: float, batches: int) -> float:
    """Seconds waited for ``batches`` batches with a pause after each."""
    waited = 0.0
    for _ in range(batches):
        start = time.perf_counter()
        next(iterator)
        waited += time.perf_counter() - start
        time.sleep(pause)
    return waited


def _private_memory(pid: int) -> int:
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith('Private_'))
