import shutil
import signal
from pathlib import Path

import pytest
from runs import FROM_FILES, IN_MEMORY, Run, train, train_in_two


@pytest.fixture(autouse=True)
def _no_run_outlives_its_test():
    yield
    while Run.started:
        Run.started.pop().kill()


@pytest.fixture(scope='session', autouse=True)
def _ctrl_c_is_heard():
    """A shell that runs the tests in the background has them ignore SIGINT, and the runs would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session')
def options(digits, pipeline_folder) -> list[str]:
    """Three epochs of six iterations, a checkpoint after each, validation at the end."""
    return [
        'model.backbone.base_channels=4',
        'model.backbone.stem_channels=4',
        f'model.teacher.pretrained={pipeline_folder}',
        'train_dataloader.dataset.indices=96',
        'train_dataloader.batch_size=16',
        f'data_root={digits}',
        'val_dataloader.dataset.indices=16',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.ema.type=EMAHook',
        'default_hooks.ema.momentum=0.1',
    ]


@pytest.fixture(scope='session')
def whole(options, tmp_path_factory) -> Path:
    """The work directory of a run that nothing happened to."""
    work_dir = tmp_path_factory.mktemp('whole') / 'run'
    train(FROM_FILES, work_dir, options)
    return work_dir


@pytest.fixture(scope='session')
def options_of_two(options) -> list[str]:
    """Two epochs; each process has running statistics of its own, of which an epoch's end takes the mean."""
    return [*options, 'default_hooks.sync_buffers.type=SyncBuffersHook', 'train_cfg.max_epochs=2']


@pytest.fixture(scope='session')
def whole_of_two(options_of_two, tmp_path_factory) -> Path:
    """The work directory of a run in two processes."""
    work_dir = tmp_path_factory.mktemp('whole_of_two') / 'run'
    train_in_two(IN_MEMORY, work_dir, options_of_two)
    return work_dir


@pytest.fixture
def copied(whole, tmp_path) -> Path:
    """A copy of it, to damage."""
    shutil.copytree(whole, tmp_path / 'run')
    for pointer in tmp_path.glob('run/last_checkpoint'):
        pointer.write_text(str(tmp_path / 'run' / Path(pointer.read_text()).name))
    return tmp_path / 'run'
