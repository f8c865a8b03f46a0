"""``tools/train.py --dry-run``: build all that a training builds, try one step, and say what it costs.

FLOPs and memory are measured on a few images and scaled up to a batch.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook
from mmengine.registry import OPTIMIZERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmpretrain.registry import LOOPS
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary, weakref

from ..configs import find_class
from ..errors import RepFusionError, UnusableInputError
from ..models.frozen import FrozenHolder
from ..weights import unwrap
from .checkpoints import resolve_checkpoint
from .launch import build_runner
from .preflight import check_data, check_pretrained_weights


@dataclass
class StepCost:
    """Cost of a training step of one process.

    Attributes:
        images: Images that were run; what depends on their number is scaled to ``batch``.
        batch: Images of a batch.
        trained: Trainable parameters, by part of the model.
        frozen: Parameters that are not trained, such as a teacher's.
        flops: FLOPs of a step, forward and backward, two for a multiplication and an addition.
        weights: Bytes of all parameters and buffers, those of an average over training (EMA) too.
        gradients: Bytes of the gradients.
        optimizer: Bytes of the optimizer's state.
        maps: Bytes that the forward pass holds at most: what the backward pass needs, and what a teacher works with.
    """

    images: int
    batch: int
    trained: dict[str, int]
    frozen: int
    flops: int
    weights: int
    gradients: int
    optimizer: int
    maps: int

    @property
    def memory(self) -> int:
        """Bytes that a step needs, without the work space of the libraries' kernels."""
        return self.weights + self.gradients + self.optimizer + self.maps


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors that operations have made inside this context and that are still alive.

    Attributes:
        live: Bytes now.
        peak: Bytes at most so far.
    """

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._known = WeakIdKeyDictionary()  # storage -> whether it was made here

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tree_map_only(Tensor, lambda tensor: self._note(tensor, made_here=False), (args, kwargs))
        outputs = func(*args, **kwargs)
        tree_map_only(Tensor, lambda tensor: self._note(tensor, made_here=True), outputs)
        return outputs

    def _note(self, tensor: Tensor, made_here: bool) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known[storage] = made_here
        if made_here:
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, size: int) -> None:
        self.live -= size


def measure_step(runner: Runner, data: dict, images: int, batch: int) -> StepCost:
    """Train one step on ``data``, a collated batch of ``images`` images, which stands for one of ``batch``."""
    model = unwrap(runner.model)
    device = next(model.parameters()).device
    # The fused attention of CPUs is unknown to the counter; written out, it does the same work.
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == 'cpu' else nullcontext()
    model.train()
    memory, forward = LiveMemory(), []
    handle = model.register_forward_hook(lambda *_: forward.append(memory.peak))
    with attention, FlopCounterMode(display=False) as counter, memory:
        runner.model.train_step(data, runner.optim_wrapper)
    handle.remove()
    averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
    teachers = [module.held for module in model.modules() if isinstance(module, FrozenHolder)]
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    states = [value for state in runner.optim_wrapper.optimizer.state.values() for value in state.values()]
    return StepCost(
        images=images,
        batch=batch,
        trained=_count_by_part(model),
        frozen=sum(weight.numel() for part in (model, *teachers) for weight in part.parameters())
        - sum(weight.numel() for weight in trainable),
        flops=counter.get_total_flops() * batch // images,
        weights=sum(_nbytes(part) for part in (model, *averages, *teachers)),
        gradients=sum(weight.nbytes for weight in trainable),
        optimizer=sum(value.nbytes for value in states if isinstance(value, Tensor)),
        maps=max(forward) * batch // images,
    )


def _count_by_part(model: nn.Module) -> dict[str, int]:
    counts = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            part = name.partition('.')[0]
            counts[part] = counts.get(part, 0) + weight.numel()
    return counts


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


IMAGES = 4  # as many as losses need that compare images with each other


class DryRunError(RepFusionError):
    """A training that would fail."""


def dry_run(config: Config, allow_partial_init: bool = False) -> None:
    """Print what a training of ``config`` costs; nothing is left behind.

    Raises:
        DryRunError: With a sentence for each problem that would end the training.
    """
    problems: list[str] = []
    with _collect_errors(problems):
        check_data(config, ['train', 'val'])
    with _collect_errors(problems):
        for unused in resolve_checkpoint(config):
            print(unused)
    with tempfile.TemporaryDirectory(prefix='dry_run_') as folder:
        # MMEngine's loggers are known by name: one of the training that follows must not be taken for this one's.
        config.merge_from_dict({'work_dir': folder, 'log_level': 'ERROR', 'experiment_name': Path(folder).name})
        with _collect_errors(problems):
            _replace_loop(config)
            find_class('optim_wrapper.optimizer', config.optim_wrapper.optimizer, OPTIMIZERS)
            runner = build_runner(config, progress=False)
            model = unwrap(runner.model)
            check_pretrained_weights(model, config, allow_partial_init)
        if not problems:
            with _collect_errors(problems):
                runner.train()
    if problems:
        raise DryRunError('\n- '.join(['This training would fail:', *problems]))
    if is_main_process():
        print('\n'.join(_describe(runner.train_loop)))


class _Trial:
    """Instead of the training: a step on a few images, and a validation of them."""

    cost: StepCost

    def run(self) -> None:
        runner = self.runner
        runner.call_hook('before_train')
        images, batch = _load(self.dataloader)
        self.cost = measure_step(runner, batch, images, self.dataloader.batch_size)
        if runner.val_loop is not None:
            runner.call_hook('before_val')
            _, batch = _load(runner.val_dataloader)
            runner.model.eval()
            with torch.no_grad():
                runner.model.val_step(batch)


@LOOPS.register_module()
class DryEpochLoop(_Trial, EpochBasedTrainLoop):
    """Takes the place of ``EpochBasedTrainLoop``."""


@LOOPS.register_module()
class DryIterLoop(_Trial, IterBasedTrainLoop):
    """Takes the place of ``IterBasedTrainLoop``."""


def _replace_loop(config: Config) -> None:
    settings = config.train_cfg
    by_epoch = settings.pop('by_epoch', True)
    kind = settings.pop('type', EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop)
    loops = {EpochBasedTrainLoop: DryEpochLoop, IterBasedTrainLoop: DryIterLoop}
    found = find_class('train_cfg', {'type': kind}, LOOPS)
    if found not in loops:
        raise UnusableInputError(f'train_cfg.type={kind!r}: --dry-run knows {" and ".join(k.__name__ for k in loops)}.')
    settings.type = f'mmpretrain.{loops[found].__name__}'
    # Few images are loaded, and at once.
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.train_dataloader.pop('prefetch_factor', None)


@contextmanager
def _collect_errors(problems: list[str]) -> Iterator[None]:
    """Whatever is raised is what a dry run is to find."""
    try:
        yield
    except Exception as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        known = isinstance(error, OSError | ValueError | LookupError)
        problems.append(str(message) if known else f'{type(error).__name__}: {message}')


def _load(dataloader: DataLoader) -> tuple[int, dict]:
    """A few images, spread over the data set: their number, and the batch of them."""
    dataset = dataloader.dataset
    count = min(IMAGES, len(dataset), dataloader.batch_size)
    indices = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
    return count, dataloader.collate_fn([dataset[i] for i in indices])


def _describe(trial: _Trial) -> Iterator[str]:
    cost, runner = trial.cost, trial.runner
    data = [f'{len(trial.dataloader.dataset):,} training images']
    if runner.val_loop is not None:
        data.append(f'{len(runner.val_dataloader.dataset):,} validation images')
    parts = ', '.join(f'{name} {_short(count)}' for name, count in cost.trained.items())
    device = next(runner.model.parameters()).device
    yield 'Nothing was trained. All was built, and one step works.'
    yield f'data        {", ".join(data)}; {runner.max_iters:,} iterations'
    yield f'parameters  {_short(sum(cost.trained.values()))} trained ({parts}), {_short(cost.frozen)} frozen'
    yield f'compute     {_short(cost.flops)}FLOP a step of {cost.batch} images, in convolutions and matrix products'
    yield (
        f'memory      about {_gib(cost.memory)} GiB on {device}: weights {_gib(cost.weights)}, gradients '
        f'{_gib(cost.gradients)}, optimizer {_gib(cost.optimizer)}, feature maps {_gib(cost.maps)}'
    )
    yield f'            Compute and feature maps were measured on {cost.images} images; kernels need work space, too.'


def _short(number: float) -> str:
    for factor, unit in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if number >= factor:
            return f'{number / factor:.3g} {unit}'
    return str(number)


def _gib(size: int) -> str:
    return f'{size / 2**30:.2g}'
