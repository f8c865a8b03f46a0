"""One training run a work directory."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = 'train.lock'
RANK_VARIABLES = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


class WorkDirInUseError(RuntimeError):
    """Another training run writes to the work directory."""


@contextmanager
def locked_work_dir(work_dir: str, launcher: str) -> Iterator[None]:
    """Hold ``<work_dir>/train.lock``, in the first process of a run; the others do nothing.

    The kernel releases the lock when the process ends, however it ends. It is a POSIX record lock: workers of the
    dataloader do not inherit it, and NFS passes it on to its server. On file systems mounted without locks between
    machines (``nolock``, ``local_lock``) it holds on one machine only.

    Raises:
        WorkDirInUseError: When another run holds it.
    """
    if int(os.environ.get(RANK_VARIABLES.get(launcher, ''), '0')):
        yield
        return
    path = Path(work_dir, LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkDirInUseError(
                f'{path.parent.resolve()} is the work directory of a training that still runs: {file.read().strip()}. '
                'Wait for it, stop it (SIGTERM lets it save its state), or give another --work-dir.'
            ) from None
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}, started {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
        file.flush()
        yield
