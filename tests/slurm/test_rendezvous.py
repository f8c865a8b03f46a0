"""Where the tasks of a step meet."""

import os
import socket

import pytest
from mmcls.engine.slurm import set_rendezvous

TASK = {
    'SLURM_JOB_ID': '41',
    'SLURM_STEP_ID': '0',
    'SLURM_STEP_NUM_TASKS': '4',
    'SLURM_PROCID': '3',
    'SLURM_LOCALID': '1',
}
SET = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@pytest.fixture
def task(slurm, monkeypatch):
    """``task(**variables)`` sets the rendezvous of a task of srun, and gives what was set."""
    monkeypatch.setenv('SLURM_CONF', slurm['SLURM_CONF'])
    monkeypatch.setenv('PATH', slurm['PATH'])

    def start(**variables: str) -> dict[str, str]:
        for name in SET:
            monkeypatch.setenv(name, '')  # so that it is as before after the test
            monkeypatch.delenv(name)
        for name, value in (TASK | {'SLURM_STEP_NODELIST': 'localhost,node[2-3]'} | variables).items():
            monkeypatch.setenv(name, value)
        set_rendezvous()
        return {name: os.environ[name] for name in SET}

    return start


def test_tasks_of_a_step_meet_on_its_first_node_and_steps_do_not_meet(task):
    first, other, another_step = task(SLURM_PROCID='0'), task(), task(SLURM_STEP_ID='1')
    assert (first['RANK'], other['RANK'], other['WORLD_SIZE']) == ('0', '3', '4')
    assert first['MASTER_ADDR'] == 'localhost'
    assert first['MASTER_PORT'] == other['MASTER_PORT'] != another_step['MASTER_PORT']


def test_the_address_and_port_that_are_given_are_kept(task):
    given = task(MASTER_ADDR='127.0.0.1', MASTER_PORT='23450')
    assert (given['MASTER_ADDR'], given['MASTER_PORT']) == ('127.0.0.1', '23450')


def test_a_task_that_sees_one_gpu_takes_it(task, monkeypatch):
    for visible, local_rank in ((8, '1'), (1, '0'), (0, '0')):
        monkeypatch.setattr('torch.cuda.device_count', lambda visible=visible: visible)
        assert task()['LOCAL_RANK'] == local_rank


def test_a_node_whose_name_does_not_resolve_is_named_at_once(task):
    with pytest.raises(RuntimeError, match=r"'nowhere.invalid'.*Set MASTER_ADDR"):
        task(SLURM_STEP_NODELIST='nowhere.invalid')


def test_a_port_in_use_is_named_at_once(task):
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        port = str(other.getsockname()[1])
        with pytest.raises(RuntimeError, match=f'Port {port} of 127.0.0.1.*Set MASTER_PORT'):
            task(SLURM_PROCID='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)


def test_without_srun_the_launcher_says_how_it_is_used(monkeypatch):
    monkeypatch.delenv('SLURM_STEP_ID', raising=False)
    with pytest.raises(RuntimeError, match='not started by srun'):
        set_rendezvous()
