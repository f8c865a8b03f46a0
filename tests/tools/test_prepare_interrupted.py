"""Scripts that unpack a zip archive, when a member is damaged, the disk is full, or they are killed."""

import shutil
import subprocess
import zipfile
from collections import namedtuple

import common
import pytest
from prepare_scripts import expect, images, run, set_small_counts, unfinished, unpacked, zips


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    set_small_counts(monkeypatch)


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
        with expect('could not be written', 'No space left', 'continues from there'):
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
