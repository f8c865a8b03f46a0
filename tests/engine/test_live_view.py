"""What TensorBoard shows of a distillation while it runs, read from the event file as TensorBoard reads it."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from processes import run_tool
from support import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EPOCHS, ITERATIONS = 3, 4


@pytest.fixture(scope='module')
def events(digits, pipeline_folder, tmp_path_factory) -> EventAccumulator:
    work_dir = tmp_path_factory.mktemp('live')
    options = ['model.backbone.base_channels=4', 'model.backbone.stem_channels=4']
    options.append(f'data_root={digits}')
    options += [f'model.teacher.pretrained={pipeline_folder}', 'train_dataloader.dataset.indices=256']
    options += [f'train_cfg.max_epochs={EPOCHS}', 'train_cfg.val_interval=1', 'default_hooks.logger.interval=1']
    options += ['custom_hooks.0.interval=8', 'custom_hooks.1.interval=2', 'default_hooks.checkpoint.interval=9']
    arguments = ['configs/digits-hint/ddpm-r18_hint.py', '--work-dir', work_dir, '--cfg-options', *options]
    code, output = run_tool('train.py', *arguments, folder=ROOT / 'classification_distill')
    assert code == 0, output[-3000:]
    (path,) = work_dir.glob('*/vis_data/events.out.tfevents.*')
    accumulator = EventAccumulator(str(path), size_guidance={'images': 0, 'scalars': 0})
    accumulator.Reload()
    return accumulator


def pictures(events, name) -> dict[int, np.ndarray]:
    shown = events.Images(name)
    return {e.step: np.asarray(Image.open(BytesIO(e.encoded_image_string)).convert('RGB')) for e in shown}


def test_the_series(events):
    assert {'loss', 'loss_task', 'reward', 'policy_entropy', 'timestep_mean', 'lr', 'accuracy/top1'} <= set(
        events.Tags()['scalars']
    )
    for name in ('loss', 'reward', 'timestep_mean'):
        assert [e.step for e in events.Scalars(name)] == list(range(1, EPOCHS * ITERATIONS + 1))
    assert [e.step for e in events.Scalars('accuracy/top1')] == [1, 2, 3]
    shares = [events.Scalars(f'timestep_share/{t}') for t in range(0, 1000, 50)]  # of the policy's grid
    assert all([e.step for e in share] == [8, 12] for share in shares)
    assert sum(share[-1].value for share in shares) == pytest.approx(1)


def test_the_pictures_come_through_training(events):
    assert list(pictures(events, 'timesteps')) == [8, 12]
    assert list(pictures(events, 'timesteps_by_class')) == [8, 12]
    features = pictures(events, 'features_mid_block.resnets.1.conv2')
    assert list(features) == [0, 8, 12]
    for picture in features.values():
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100  # colours, not a blank

    # The images and what the teacher says of them stay as they are; beside them policy and student have learned.
    before, after = features[0], features[12]
    changed = (before != after).any((0, 2))
    student, first = before.shape[1] - 90, 80  # where their columns begin, in pixels
    assert changed[student + 10 : -10].all()
    assert not changed[first + 10 : student - 10].any()
