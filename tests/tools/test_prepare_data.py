"""Scripts that unpack a zip archive, on whole and spoilt archives and folders."""

import shutil
import subprocess
import sys
from pathlib import Path

import common
import pytest
import small_datasets
import tiny_imagenet
from prepare_scripts import contents, expect, images, run, set_small_counts, unfinished, unpacked, zips

SCRIPTS = Path(common.__file__).parent


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    set_small_counts(monkeypatch)


@zips
def test_unpacked_once_and_then_left_alone(tmp_path, capsys, script, write_raw, name):
    folder, archive = tmp_path / 'data' / name, write_raw(tmp_path)
    with expect('is not complete', script.URL, '--archive'):
        run(script, folder, '--check')
    assert not folder.parent.exists()
    run(script, folder, '--archive', archive)
    assert 'is complete' in capsys.readouterr().out
    before = contents(folder)
    assert not unfinished(folder)
    run(script, folder, '--archive', archive)
    run(script, folder, '--check')
    assert contents(folder) == before


@zips
def test_truncated_missing_and_wrong_archives_are_refused(tmp_path, script, write_raw, name):
    folder, archive = tmp_path / 'data' / name, write_raw(tmp_path)
    truncated, wrong = tmp_path / 'truncated.zip', tmp_path / 'wrong.zip'
    truncated.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    small_datasets.write_zip(wrong, {'holiday/1.jpg': small_datasets.jpeg(0, 16)})
    with expect(truncated, f'{truncated.stat().st_size:,} bytes', 'truncated', script.URL):
        run(script, folder, '--archive', truncated)
    with expect(wrong, 'holiday/1.jpg', script.URL):
        run(script, folder, '--archive', wrong)
    with expect(tmp_path / 'none.zip', script.URL):
        run(script, folder, '--archive', tmp_path / 'none.zip')
    assert not folder.parent.exists()
    run(script, folder, '--archive', archive)


@zips
def test_an_archive_whose_images_do_not_decode_is_refused(tmp_path, monkeypatch, script, write_raw, name):
    folder, jpeg = tmp_path / 'data' / name, small_datasets.jpeg
    with monkeypatch.context() as spoil:
        spoil.setattr(small_datasets, 'jpeg', lambda index, *args: jpeg(index, *args)[: 300 if index == 1 else None])
        archive = write_raw(tmp_path)
    with expect(archive, 'does not decode', '1.'):
        run(script, folder, '--archive', archive)
    assert not folder.parent.exists()


@zips
def test_a_folder_with_something_missing_or_spoilt_is_mended(tmp_path, script, write_raw, name):
    folder, archive = tmp_path / 'data' / name, write_raw(tmp_path)
    run(script, folder, '--archive', archive)
    before = contents(folder)
    lost, spoilt = images(folder)[:2]
    lost.unlink()
    with expect('is not complete', lost.parent.parent.name if script is tiny_imagenet else lost.name):
        run(script, folder, '--check')
    spoilt.write_bytes(spoilt.read_bytes()[:300] + bytes(spoilt.stat().st_size - 300))  # of the same size
    run(script, folder, '--archive', archive)
    after = contents(folder)
    changed = {str(path.relative_to(folder)) for path in (lost, spoilt)}
    assert {path for path in before if before[path] != after[path]} == changed
    assert all(before[path][0] == after[path][0] for path in before)


@zips
def test_an_image_that_does_not_decode_is_named(tmp_path, script, write_raw, name):
    folder = tmp_path / 'data' / name
    run(script, folder, '--archive', write_raw(tmp_path))
    spoilt = images(folder)[-1]
    spoilt.write_bytes(b'')
    with expect('is not complete', spoilt.name, 'does not decode'):
        run(script, folder, '--check')


@zips
def test_a_folder_with_other_things_is_refused(tmp_path, script, write_raw, name):
    folder = tmp_path / 'data' / name
    wrong = unpacked(script, folder)
    small_datasets.write_files(wrong, {'letters/1.txt': b'Dear', 'holiday.jpg': b'1'})
    before = contents(folder)
    with expect('holds something else: holiday.jpg, letters'):
        run(script, folder, '--archive', write_raw(tmp_path))
    assert contents(folder) == before
    with expect('is a file'):
        run(script, wrong / 'holiday.jpg', '--check')


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    folder, archive = tmp_path / 'tiny-imagenet-200', small_datasets.write_raw_tiny_imagenet(tmp_path)
    run(tiny_imagenet, folder, '--archive', archive)
    images_of_a_class = images(folder / 'train')[0].parent
    shutil.rmtree(images_of_a_class)
    images_of_a_class.touch()
    with expect(images_of_a_class, 'could not be written', 'Fix this and run the same command again'):
        run(tiny_imagenet, folder, '--archive', archive)
    images_of_a_class.unlink()
    run(tiny_imagenet, folder, '--archive', archive)


@pytest.mark.parametrize('name', ['tiny_imagenet', 'celebahq'])
def test_as_a_command(tmp_path, name):
    command = [sys.executable, SCRIPTS / f'{name}.py', tmp_path / 'none', '--check']
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert 'is not complete' in result.stderr
    assert 'Traceback' not in result.stderr
