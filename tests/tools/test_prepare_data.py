"""Scripts of tools/prepare_data on whole and spoilt input: those that unpack a zip archive, and digits."""

import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
import small_datasets
from prepare_data import celebahq, common, digits, tiny_imagenet
from prepare_scripts import contents, expect, images, run

SCRIPTS = Path(common.__file__).parent


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(celebahq, 'NUM_IMAGES', 6)
    monkeypatch.setattr(tiny_imagenet, 'NUM_CLASSES', 3)
    monkeypatch.setattr(tiny_imagenet, 'IMAGES_PER_CLASS', {'train': 6, 'val': 2})


zips = pytest.mark.parametrize(
    ('script', 'write_raw', 'name'),
    [
        pytest.param(tiny_imagenet, small_datasets.write_raw_tiny_imagenet, 'tiny-imagenet-200', id='tiny_imagenet'),
        pytest.param(celebahq, small_datasets.write_raw_celebahq, 'CelebAMask-HQ', id='celebahq'),
    ],
)


def unfinished(folder):
    return [path for path in folder.parent.rglob('*.partial') if path.is_file()]


def unpacked(script, folder):
    """The folder that bears its name only when all is in it."""
    return folder / celebahq.IMAGES if script is celebahq else folder


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
def test_an_archive_damaged_inside_leaves_nothing_half_written(tmp_path, monkeypatch, script, write_raw, name):
    folder, archive = tmp_path / 'data' / name, write_raw(tmp_path)
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as members:
        member = next(info for info in members.infolist() if info.filename.endswith(('_1.JPEG', '/1.jpg')))
    start = member.header_offset + 200
    archive.write_bytes(whole[:start] + bytes(64) + whole[start + 64 :])
    with monkeypatch.context() as unsampled:
        unsampled.setattr(common, 'broken_images', lambda *args: [])  # as if no sample had hit it
        with expect(archive, f'damaged at {member.filename}'):
            run(script, folder, '--archive', archive)
    assert not unfinished(folder)
    assert not unpacked(script, folder).exists()
    archive.write_bytes(whole)
    run(script, folder, '--archive', archive)
    assert not list(folder.parent.rglob('*.partial'))


@zips
def test_too_little_room_is_refused_before_anything_is_written(tmp_path, monkeypatch, script, write_raw, name):
    folder, archive = tmp_path / 'data' / name, write_raw(tmp_path)
    usage = namedtuple('usage', 'total used free')
    with monkeypatch.context() as full:
        full.setattr(shutil, 'disk_usage', lambda path: usage(10**6, 10**6 - 5000, 5000))
        with expect('MB free', 'Make room'):
            run(script, folder, '--archive', archive)
    assert not folder.parent.exists()
    run(script, folder, '--archive', archive)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 256 kB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]
    if not shutil.which('mount') or subprocess.run(command, capture_output=True).returncode:
        pytest.skip('mounting a small disk needs root')
    yield folder
    subprocess.run(['umount', folder], check=True)


@zips
def test_a_disk_that_fills_up_keeps_whole_files_and_a_second_run_completes(
    tmp_path, monkeypatch, small_disk, script, write_raw, name
):
    folder, archive = small_disk / name, write_raw(tmp_path)
    needed = []
    with monkeypatch.context() as filled:  # by another program, after the check

        def fill(folder, num_bytes):
            needed.append(num_bytes)
            (small_disk / 'other').write_bytes(bytes(shutil.disk_usage(small_disk).free - num_bytes // 2))

        filled.setattr(common, 'require_space', fill)
        with expect('could not be written', 'No space left', 'goes on from there'):
            run(script, folder, '--archive', archive)
    kept = {path.name: path.stat().st_mtime_ns for path in images(small_disk)}
    assert kept
    assert not unfinished(folder)
    assert not unpacked(script, folder).exists()
    with expect('MB free'):
        run(script, folder, '--archive', archive)
    (small_disk / 'other').unlink()
    run(script, folder, '--archive', archive)
    assert not list(small_disk.rglob('*.partial'))
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in images(folder)}.items()


@zips
def test_a_killed_run_is_gone_on_with(tmp_path, monkeypatch, script, write_raw, name):
    folder, archive = tmp_path / 'data' / name, write_raw(tmp_path)
    written, write_file = [], common.write_file

    def interrupted(path, source):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write_file(path, source)

    with monkeypatch.context() as killed:
        killed.setattr(common, 'write_file', interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(script, folder, '--archive', archive)
    with expect('is not complete'):
        run(script, folder, '--check')
    written[0].write_bytes(written[0].read_bytes()[:-1])  # what a power cut may leave
    again = []
    monkeypatch.setattr(common, 'write_file', lambda path, source: (again.append(path), write_file(path, source)))
    run(script, folder, '--archive', archive)
    assert written[0] in again
    assert not {written[1], written[2]} & set(again)
    run(script, folder, '--check')


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
    with expect(images_of_a_class, 'could not be written', 'Once that is mended'):
        run(tiny_imagenet, folder, '--archive', archive)
    images_of_a_class.unlink()
    run(tiny_imagenet, folder, '--archive', archive)


def test_digits(tmp_path):
    folder = tmp_path / 'digits'
    with expect('lists are missing: train, test'):
        run(digits, folder, '--check')
    assert not folder.exists()
    run(digits, folder)
    before = contents(folder)
    run(digits, folder)
    assert contents(folder) == before
    missing = folder / 'images' / '0' / '0000.png'
    missing.unlink()
    with expect('1 of 1,797 are missing: 0/0000.png'):
        run(digits, folder, '--check')
    run(digits, folder)
    assert missing.is_file()


@pytest.mark.parametrize('name', ['tiny_imagenet', 'celebahq'])
def test_as_a_command(tmp_path, name):
    command = [sys.executable, SCRIPTS / f'{name}.py', tmp_path / 'none', '--check']
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert 'is not complete' in result.stderr
    assert 'Traceback' not in result.stderr
