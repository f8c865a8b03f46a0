"""Training on many GPUs, on paper: what a step computes, sends and reads, and what limits first."""

import math
from dataclasses import asdict, dataclass

from mmengine.config import Config

from ..configs import training_set, type_name
from ..errors import UnusableInputError
from .data import images_per_core
from .shapes import TEACHERS, count

# Images, and bytes of one as it lies on the disk: 138 GB of archives, and nothing once the pickles are read.
DATA_SETS = {'ImageNet': (1_281_167, 108_000), 'CIFAR10': (50_000, 0)}


@dataclass
class Assumptions:
    """What the simulation takes for granted of the machines; ``--assume key=value`` changes it."""

    tflops: float = 120.0  # that a GPU keeps up, in 10^12/s: 40 % of an A100's 312 in bfloat16
    node: int = 8  # GPUs
    inside: float = 200.0  # GB/s at which a GPU reaches the others of its node
    network: float = 25.0  # GB/s of a whole node, 200 Gbit/s
    latency: float = 10.0  # microseconds of a message
    images_per_core: float | None = None  # a second, loaded and augmented; None measures it here
    boundary: float = 1.0  # seconds from an epoch's last batch to the next one's first; `data` measures it
    disk: float = 1.0  # GB/s at which a checkpoint is written, while all wait
    restart: float = 120.0  # seconds from a failure to the first step of the new run
    # GPU-hours a failure: 419 in 54 days on 16,384 H100 ("The Llama 3 Herd of Models", 2024, section 3.3.4).
    failure: float = 50_700.0


def all_reduce_seconds(size: float, gpus: int, assumed: Assumptions) -> float:
    """Time to sum ``size`` bytes over all GPUs: within the nodes, between them, within them.

    Latency and bandwidth as of recursive halving and doubling ("Optimization of Collective Communication Operations in
    MPICH", Thakur et al., 2005, section 4.5).
    """
    inside = min(gpus, assumed.node)
    nodes = math.ceil(gpus / assumed.node)
    return (
        2 * math.ceil(math.log2(gpus)) * assumed.latency * 1e-6
        + 2 * (inside - 1) / inside * size / (assumed.inside * 1e9)
        + 2 * (nodes - 1) / nodes * size / (assumed.network * 1e9)
    )


def simulate(counted: dict[str, int], config: Config, gpus: int, assumed: Assumptions) -> dict:
    """One training on ``gpus`` GPUs; keys as in ``QUANTITIES``, times in seconds."""
    images, image_bytes = DATA_SETS[type_name(training_set(config))]
    batch = config.train_dataloader.batch_size
    rate = assumed.tflops * 1e12 / batch
    backward = counted['backward_flops'] / rate
    compute = (counted['teacher_flops'] + counted['forward_flops']) / rate + backward
    reduce = all_reduce_seconds(counted['gradients'], gpus, assumed)
    small = counted['messages'] * all_reduce_seconds(0, gpus, assumed)
    exposed = max(0.0, reduce - backward) + small  # gradients travel while others are computed
    workers = max(1, config.train_dataloader.num_workers)
    waiting = max(0.0, batch / (workers * assumed.images_per_core) - compute - exposed)
    step = compute + exposed + waiting
    steps = math.ceil(images / (gpus * batch))
    write = counted['checkpoint'] / (assumed.disk * 1e9)
    failure = assumed.failure * 3600 / gpus
    interval = math.sqrt(2 * write * failure)  # Young, 1974, equation 4; Daly, 2006, adds less than a hundredth here
    epoch = steps * step + assumed.boundary
    lost = {
        'loading': steps * waiting,
        'all-reduce': steps * exposed,
        'epoch boundary': assumed.boundary,
        'checkpoint every epoch': write,
        'failures': epoch * (epoch / 2 + assumed.restart) / failure,
    }
    total = epoch + write + lost['failures']
    worst = max(lost, key=lost.get)
    too_large = gpus * batch > images
    return {
        'gpus': gpus,
        'batch': gpus * batch,
        'steps': steps,
        'compute': compute,
        'gradients': counted['gradients'],
        'all_reduce': reduce + small,
        'exposed': exposed,
        'images_per_second': gpus * batch / step,
        'read': gpus * batch / step * image_bytes,
        'cores': batch / (compute + exposed) / assumed.images_per_core,
        'waiting': waiting,
        'step': step,
        'epoch': total,
        'efficiency': steps * compute / total,
        'checkpoint': counted['checkpoint'],
        'failure': failure,
        'interval': interval,
        'interval_epochs': interval / epoch,
        'lost': lost,
        'limit': 'data set: less than a batch' if too_large else f'{worst}, {lost[worst] / total:.1%}',
    }


QUANTITIES = {
    'gpus': ('GPUs', '{}'),
    'batch': ('images a step', '{:,}'),
    'steps': ('steps an epoch', '{:,}'),
    'compute': ('computing, ms a step', lambda value: f'{1e3 * value:.1f}'),
    'gradients': ('all-reduced, MB a step', lambda value: f'{value / 1e6:.1f}'),
    'all_reduce': ('all-reduce, ms', lambda value: f'{1e3 * value:.2f}'),
    'exposed': ('of it not hidden by the backward pass, ms', lambda value: f'{1e3 * value:.2f}'),
    'cores': ('cores a GPU to load as fast', '{:.1f}'),
    'waiting': ("waiting for the config's workers, ms", lambda value: f'{1e3 * value:.1f}'),
    'step': ('step, ms', lambda value: f'{1e3 * value:.1f}'),
    'images_per_second': ('images/s', '{:,.0f}'),
    'read': ('read, GB/s', lambda value: f'{value / 1e9:.2f}'),
    'epoch': ('epoch, s', '{:,.1f}'),
    'efficiency': ('of it computing', '{:.0%}'),
    'checkpoint': ('checkpoint, MB', lambda value: f'{value / 1e6:.0f}'),
    'failure': ('a failure every, h', lambda value: f'{value / 3600:,.0f}'),
    'interval': ('best interval of checkpoints, min', lambda value: f'{value / 60:.0f}'),
    'interval_epochs': ('in epochs', '{:,.1f}'),
    'limit': ('limits first', '{}'),
}


def check(config: Config, assume: dict) -> None:
    """Raise ValueError where the data set or the teacher is not known here, or ``assume`` names something else."""
    if type_name(training_set(config)) not in DATA_SETS:
        raise UnusableInputError(f'its training set is none of {", ".join(DATA_SETS)}, whose sizes are known here.')
    if type_name(config.model.teacher) not in TEACHERS:
        raise UnusableInputError(f'its teacher is none of {", ".join(TEACHERS)}.')
    if unknown := assume.keys() - asdict(Assumptions()).keys():
        raise UnusableInputError(f'--assume knows {", ".join(asdict(Assumptions()))}, not {", ".join(unknown)}.')


def measure(config: Config, gpus: list[int], assume: dict) -> tuple[dict, list[dict]]:
    """Simulate each number of GPUs; also give what was counted and assumed."""
    assumed = Assumptions(**assume)
    assumed.images_per_core = assumed.images_per_core or images_per_core(config)
    counted = count(config)
    return counted | asdict(assumed), [simulate(counted, config, number, assumed) for number in gpus]
