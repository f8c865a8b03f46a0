"""A teacher by name becomes what a config holds."""

import pytest
from mmcls.apis.teacher import describe_teacher


def test_a_training_stands_for_the_diffusion_model_that_it_left(tmp_path):
    (tmp_path / 'pipeline').mkdir()
    (tmp_path / 'pipeline' / 'model_index.json').write_text('{}')
    (tmp_path / 'epoch_1.pth').touch()
    for teacher in (tmp_path, tmp_path / 'epoch_1.pth'):
        with pytest.raises(ValueError, match=f'The diffusion model that it left is {tmp_path}/pipeline'):
            describe_teacher(str(teacher))


def test_a_published_checkpoint_is_known_by_its_name(tmp_path):
    path = tmp_path / '256x256_diffusion_uncond.pt'
    path.touch()
    expected = {'type': 'ADMTeacher', 'checkpoint': str(path), 'variant': '256-uncond'}
    assert describe_teacher(str(path)) == expected
    assert describe_teacher(str(path), '64')['variant'] == '64'
