"""How the tasks of a Slurm step find each other."""

import os
import socket
import subprocess

import torch

from ..errors import RepFusionError


class RendezvousError(RepFusionError, RuntimeError):
    """The tasks of a Slurm step cannot meet."""


def set_rendezvous() -> None:
    """Set for a task of ``srun`` what torchrun sets for its processes.

    ``MASTER_ADDR`` and ``MASTER_PORT`` stay as they are where they are set. Else they are the first node of the step
    and a port that all tasks make from the numbers of the job and the step, below those the kernel gives away.

    Raises:
        RendezvousError: When this is no task of srun, the address does not resolve, or the port is taken.
    """
    if 'SLURM_STEP_ID' not in os.environ:
        raise RendezvousError('--launcher slurm: this process was not started by srun. Use tools/slurm_train.sh.')
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['WORLD_SIZE'] = os.environ['SLURM_STEP_NUM_TASKS']
    # Where Slurm gives every task GPUs of its own, each sees one, as number 0.
    os.environ['LOCAL_RANK'] = str(int(os.environ['SLURM_LOCALID']) % max(torch.cuda.device_count(), 1))
    if 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.check_output(['scontrol', 'show', 'hostnames', os.environ['SLURM_STEP_NODELIST']], text=True)
        os.environ['MASTER_ADDR'] = nodes.split()[0]
    if 'MASTER_PORT' not in os.environ:
        number = int(os.environ['SLURM_JOB_ID']) + 101 * int(os.environ['SLURM_STEP_ID'])
        os.environ['MASTER_PORT'] = str(10000 + number % 20000)
    _check(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))


def _check(address: str, port: int) -> None:
    """Torch would try again for half an hour."""
    try:
        socket.getaddrinfo(address, port)
    except socket.gaierror as error:
        raise RendezvousError(
            f'{socket.gethostname()} does not know the first node of the step by its name {address!r} ({error}). '
            'Set MASTER_ADDR to a name or number that all nodes know.'
        ) from None
    if os.environ['RANK'] == '0':
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('', port))
            except OSError as error:
                raise RendezvousError(
                    f'Port {port} of {address}, where the tasks were to meet, cannot be used ({error}). '
                    'Set MASTER_PORT to one that can.'
                ) from None
