"""A real Slurm on this machine, with made-up nodes and a munge key of its own.

Partition ``debug`` has two nodes with eight GPUs each, which are no GPUs; partition ``cpu`` has one node without.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ctypes import CDLL
from pathlib import Path

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'srun', 'sbatch', 'scancel', 'scontrol', 'sinfo', 'squeue')
PATH = os.pathsep.join([os.environ['PATH'], '/usr/sbin', '/sbin'])  # where the daemons are, for root or not
SECONDS_TO_START = 30
PR_SET_PDEATHSIG = 1

# Credentials that end early let a requeued job start again soon: Slurm waits for them.
SLURM_CONF = """
ClusterName=small
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=64 RealMemory=4000 Gres=gpu:8 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=64 RealMemory=4000 Gres=gpu:8 State=UNKNOWN
NodeName=node3 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} CPUs=64 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP
PartitionName=cpu Nodes=node3 MaxTime=INFINITE State=UP
"""
NODES = ['node1', 'node2', 'node3']


def what_is_missing() -> str | None:
    """Why no Slurm can be started here, or None."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=PATH)]
    if missing:
        return f'Slurm is not installed ({", ".join(missing)}): apt-get install slurm-wlm munge'
    return None if os.geteuid() == 0 else 'a Slurm of its own can be started by root only'


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in sockets]


def write_settings(folder: Path) -> None:
    host = socket.gethostname().split('.')[0]
    (folder / 'slurm.conf').write_text(SLURM_CONF.format(folder=folder, host=host, ports=free_ports(4)))
    for gpu in range(8):  # Slurm wants device files; these are /dev/null
        os.mknod(folder / f'gpu{gpu}', 0o666 | 0o020000, os.makedev(1, 3))
    lines = [f'NodeName={node} Name=gpu File={folder}/gpu[0-7]\n' for node in NODES[:2]]
    (folder / 'gres.conf').write_text(''.join(lines))
    (folder / 'munge.key').touch(0o600)
    (folder / 'munge.key').write_bytes(secrets.token_bytes(64))


def end_with_parent() -> None:
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def daemon(*command, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A program that runs until the block ends, or this process does."""
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition, seconds: float, what: str):
    """The first true value of ``condition()``.

    Raises:
        TimeoutError: When it has none for that long.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f'{what}: not within {seconds} s.')
        time.sleep(0.1)
    return value


def output(*command, env: dict[str, str]) -> str:
    return subprocess.run(command, env=env, capture_output=True, text=True).stdout


@contextmanager
def small_cluster() -> Iterator[dict[str, str]]:
    """Start the cluster, give the environment in which its commands work, and shut it down whatever happens."""
    # Munge wants every folder above its socket open to all; pytest's are not.
    folder = Path(tempfile.mkdtemp(prefix='slurm-'))
    folder.chmod(0o755)
    write_settings(folder)
    env = {key: value for key, value in os.environ.items() if not key.startswith(('SLURM', 'SBATCH', 'SRUN'))}
    # The made-up names of the nodes do not resolve.
    env |= {'SLURM_CONF': f'{folder}/slurm.conf', 'PATH': PATH, 'MASTER_ADDR': '127.0.0.1'}
    munge = [f'--{name}-file={folder}/munge.{name}' for name in ('key', 'pid', 'log', 'seed')]
    try:
        with ExitStack() as stack:
            stack.enter_context(daemon('munged', '--foreground', *munge, f'--socket={folder}/munge.socket', env=env))
            wait_for((folder / 'munge.socket').exists, SECONDS_TO_START, 'munged')
            for command in (['slurmctld'], *(['slurmd', '-N', node] for node in NODES)):
                stack.enter_context(daemon(*command, '-D', env=env))

            def idle() -> bool:
                return output('sinfo', '-hN', '-t', 'idle', '-o', '%N', env=env).split() == NODES

            wait_for(idle, SECONDS_TO_START, f'Slurm, whose logs are in {folder}')
            stack.callback(end_jobs, env)
            yield env
        shutil.rmtree(folder)
    except TimeoutError:
        print(''.join(log.read_text()[-3000:] for log in sorted(folder.glob('*.log'))))
        raise


def end_jobs(env: dict[str, str]) -> None:
    """Cancel what runs: a daemon's end would leave the steps of its jobs running."""
    for job in output('squeue', '-h', '-o', '%A', env=env).split():
        subprocess.run(['scancel', job], env=env, check=True)
    wait_for(lambda: not output('squeue', '-h', env=env).strip(), 60, 'the end of all jobs')
