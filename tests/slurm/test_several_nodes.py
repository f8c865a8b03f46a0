"""Real runs on several nodes: under a Slurm that is started here, and by torchrun called once a node."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_cluster import free_ports, output, wait_for

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / 'classification_distill'
ITERATIONS = 60
FACE_PARSING = next((ROOT / 'segmentation/configs/celebahq_mask').glob('*.py'))

# The global batch is all that counts here: nothing is random in a step, all images are read at one timestep, batch norm
# keeps the statistics it starts with (its own batch is all that a process knows), and SGD, unlike Adam, shows it when
# gradients are summed instead of averaged. The sampler deals out a global batch's images to the processes.
CONFIG = """
_base_ = '{tree}/configs/digits-hint/ddpm-r18_hint.py'
custom_imports = dict(imports=['mmcls', 'several_nodes'])
custom_hooks = [dict(type=hook) for hook in {hooks}]
data_preprocessor = dict(augments=[])
data = dict(indices=320, dataset=dict(data_root='{digits}'))
train_dataloader = val_dataloader = test_dataloader = dict(batch_size={batch_size}, num_workers=0, dataset=data)
model = dict(
    teacher=dict(pretrained='{pipeline}'),
    timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep=50),
    backbone=dict(base_channels=4, stem_channels=4, norm_eval=True))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01, momentum=0.9))
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=12))
"""


@pytest.fixture(scope='module')
def write_config(digits, pipeline_folder, tmp_path_factory):
    """``write_config(processes, *hooks)``: 12 epochs of five iterations with 64 images for all processes together."""

    def write(processes: int, *hooks: str) -> Path:
        config = tmp_path_factory.mktemp('config') / f'{processes}_processes.py'
        settings = {'digits': digits, 'pipeline': pipeline_folder, 'batch_size': 64 // processes, 'hooks': hooks}
        config.write_text(CONFIG.format(tree=TREE, **settings))
        return config

    return write


def environment(slurm=os.environ, **variables) -> dict[str, str]:
    return {
        **slurm,
        'OMP_NUM_THREADS': '1',
        'PYTHON': sys.executable,
        'PYTHONPATH': str(Path(__file__).parent),
    } | variables


def run(*command, env: dict[str, str], check=True, cwd: Path = TREE, timeout=600) -> str:
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    text = result.stdout + result.stderr
    assert (result.returncode == 0) == check, text[-5000:]
    return text


def records(work_dir: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(work_dir.glob('rank*.json'))]


def losses(work_dir: Path) -> torch.Tensor:
    """(iterations, losses), the mean over the processes."""
    return torch.tensor([record['losses'] for record in records(work_dir)]).mean(0)


def scalars(work_dir: Path) -> list[dict]:
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / 'epoch_12.pth', weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def one_process(write_config, tmp_path_factory) -> Path:
    """The work directory of one process with the whole batch."""
    work_dir = tmp_path_factory.mktemp('one_process')
    command = [sys.executable, 'tools/train.py', write_config(1, 'RankRecordHook'), '--work-dir', work_dir]
    run(*command, env=environment())
    return work_dir


def test_four_tasks_on_two_nodes_train_to_the_losses_of_one_process(slurm, write_config, one_process, tmp_path):
    env = environment(slurm, GPUS='4', GPUS_PER_NODE='2', CPUS_PER_TASK='1', SRUN_ARGS='--time=10 --comment=tests')
    config = write_config(4, 'RankRecordHook')
    run('bash', 'tools/slurm_train.sh', 'debug', 'distil', config, tmp_path, env=env)
    assert [record['node'] for record in records(tmp_path)] == ['node1', 'node1', 'node2', 'node2']
    assert len(losses(tmp_path)) == len(losses(one_process)) == ITERATIONS
    assert torch.allclose(losses(tmp_path), losses(one_process), atol=1e-4, rtol=0)


def test_a_test_job_on_a_partition_without_gpus(slurm, write_config, one_process, tmp_path):
    env = environment(
        slurm,
        GPUS='2',
        CPUS_PER_TASK='1',
        PY_ARGS=f'--out {tmp_path}/metrics.json --work-dir {tmp_path} '
        '--cfg-options test_dataloader.dataset.dataset.ann_file=meta/val.txt',
    )
    checkpoint = one_process / 'epoch_12.pth'
    said = run('bash', 'tools/slurm_test.sh', 'cpu', 'test', write_config(2), checkpoint, env=env)
    assert 'Partition cpu has no GPUs: 2 processes run on its processors.' in said
    trained = [row['accuracy/top1'] for row in scalars(one_process) if 'accuracy/top1' in row]
    assert json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1'] == pytest.approx(trained[-1], abs=1e-3)


def test_a_batch_job_is_stopped_by_its_time_limit_and_comes_back_until_it_is_done(
    slurm, write_config, one_process, tmp_path
):
    config = write_config(2, 'SlowStartHook')
    shape = ['--nodes=2', '--ntasks-per-node=1', '--gres=gpu:1', '--cpus-per-task=1']
    command = ['sbatch', '--parsable', f'--output={tmp_path}/out', '--time=10', '--signal=B:USR1@90', *shape]
    submitted = time.time()
    job = run(*command, 'tools/sbatch_train.sh', config, tmp_path, env=environment(slurm)).strip()

    def state() -> str:
        return output('squeue', '-h', '-t', 'all', '-j', job, '-o', '%T', env=slurm).strip()

    wait_for(lambda: (tmp_path / 'slow').exists(), 300, 'the first iterations')
    # The limit moves to one to two minutes from now, which is near; Slurm looks at it every 30 s.
    minutes = int((time.time() - submitted) // 60) + 2
    run('scontrol', 'update', f'JobId={job}', f'TimeLimit={minutes}', env=slurm)
    wait_for(lambda: state() == 'PENDING', 100, 'the queue')
    run('scontrol', 'update', f'JobId={job}', 'TimeLimit=10', env=slurm)
    wait_for(lambda: state() in ('COMPLETED', 'FAILED', 'TIMEOUT'), 300, 'the end of the job')
    said = (tmp_path / 'out').read_text()
    assert state() == 'COMPLETED', said[-5000:]
    assert 'it goes back into the queue' in said
    assert 'Restarts=1' in output('scontrol', 'show', 'job', job, env=slurm)
    assert [row['step'] for row in scalars(tmp_path) if 'loss' in row] == list(range(1, ITERATIONS + 1))
    stopped = weights(tmp_path)
    for key, value in weights(one_process).items():
        assert torch.allclose(value.double(), stopped[key].double(), atol=1e-5), key


@pytest.mark.parametrize(
    ('partition', 'gpus', 'says'),
    [
        ('nowhere', {'GPUS': '2'}, 'invalid partition specified: nowhere'),
        ('debug', {'GPUS': '9', 'GPUS_PER_NODE': '9'}, '1 node(s) with 9 GPUs and 9 processors; partition debug has 0'),
        ('debug', {'GPUS': '24'}, '3 node(s) with 8 GPUs and 8 processors; partition debug has 2'),
    ],
)  # fmt: skip
def test_what_the_cluster_does_not_have_fails_at_once(slurm, tmp_path, partition, gpus, says):
    env = environment(slurm, CPUS_PER_TASK='1', **gpus)
    command = ['bash', 'tools/slurm_train.sh', partition, 'distil', FACE_PARSING, tmp_path]
    assert says in run(*command, env=env, check=False, cwd=ROOT / 'segmentation', timeout=20)


def test_two_nodes_by_torchrun_train_to_the_losses_of_one_process(write_config, one_process, tmp_path):
    command = ['bash', 'tools/dist_train.sh', write_config(2, 'RankRecordHook'), '1', '--work-dir', tmp_path]
    env = environment(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=str(free_ports(1)[0]))
    nodes = [
        subprocess.Popen(command, cwd=TREE, env=env | {'NODE_RANK': rank}, stderr=subprocess.PIPE, text=True)
        for rank in '01'
    ]
    try:
        said = [node.communicate(timeout=600)[1] for node in nodes]
    finally:
        for node in nodes:
            node.terminate()
    assert [node.returncode for node in nodes] == [0, 0], said
    assert len(records(tmp_path)) == 2
    assert torch.allclose(losses(tmp_path), losses(one_process), atol=1e-4, rtol=0)
