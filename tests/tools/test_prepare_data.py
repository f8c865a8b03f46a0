"""The scripts of tools/prepare_data on small archives in the published form, whole and spoilt."""

import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import pytest
import small_datasets
from mmpretrain.datasets import CIFAR10, CustomDataset
from prepare_data import celebahq, cifar10, common, digits, imagenet, tiny_imagenet
from prepare_data.common import DataError

SCRIPTS = Path(common.__file__).parent


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(celebahq, 'NUM_IMAGES', 6)
    monkeypatch.setattr(tiny_imagenet, 'NUM_CLASSES', 3)
    monkeypatch.setattr(tiny_imagenet, 'IMAGES_PER_CLASS', {'train': 6, 'val': 2})
    monkeypatch.setattr(imagenet, 'NUM_IMAGES', {'train': 2000, 'val': 1000})


@pytest.fixture
def run(monkeypatch):
    """Calls a script's main with arguments."""

    def call(script, *args):
        monkeypatch.setattr(sys, 'argv', ['script', *map(str, args)])
        script.main()

    return call


def contents(folder):
    """``{path: (content, time of change)}`` of every file below a folder."""
    paths = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def unfinished(folder):
    return [path for path in folder.parent.rglob('*.partial') if path.is_file()]


@contextmanager
def expect(*words):
    with pytest.raises(DataError) as error:
        yield
    message = str(error.value)
    assert error.value.code == message  # python prints it and exits with 1
    for word in words:
        assert str(word) in message


zips = pytest.mark.parametrize(
    ('script', 'write_raw', 'name'),
    [
        pytest.param(tiny_imagenet, small_datasets.write_raw_tiny_imagenet, 'tiny-imagenet-200', id='tiny_imagenet'),
        pytest.param(celebahq, small_datasets.write_raw_celebahq, 'CelebAMask-HQ', id='celebahq'),
    ],
)


def unpacked(script, folder):
    """The folder that bears its name only when all is in it."""
    return folder / celebahq.IMAGES if script is celebahq else folder


def images(folder):
    return sorted(path for path in folder.rglob('*') if path.suffix in ('.JPEG', '.jpg'))


@zips
def test_unpacked_once_and_then_left_alone(run, tmp_path, capsys, script, write_raw, name):
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
def test_truncated_missing_and_wrong_archives_are_refused(run, tmp_path, script, write_raw, name):
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
def test_an_archive_whose_images_do_not_decode_is_refused(run, tmp_path, monkeypatch, script, write_raw, name):
    folder, jpeg = tmp_path / 'data' / name, small_datasets.jpeg
    with monkeypatch.context() as spoil:
        spoil.setattr(small_datasets, 'jpeg', lambda index, *args: jpeg(index, *args)[: 300 if index == 1 else None])
        archive = write_raw(tmp_path)
    with expect(archive, 'does not decode', '1.'):
        run(script, folder, '--archive', archive)
    assert not folder.parent.exists()


@zips
def test_an_archive_damaged_inside_leaves_nothing_half_written(run, tmp_path, monkeypatch, script, write_raw, name):
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
def test_too_little_room_is_refused_before_anything_is_written(run, tmp_path, monkeypatch, script, write_raw, name):
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
    run, tmp_path, monkeypatch, small_disk, script, write_raw, name
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
def test_a_killed_run_is_gone_on_with(run, tmp_path, monkeypatch, script, write_raw, name):
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
def test_a_folder_with_something_missing_or_spoilt_is_mended(run, tmp_path, script, write_raw, name):
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
def test_an_image_that_does_not_decode_is_named(run, tmp_path, script, write_raw, name):
    folder = tmp_path / 'data' / name
    run(script, folder, '--archive', write_raw(tmp_path))
    spoilt = images(folder)[-1]
    spoilt.write_bytes(b'')
    with expect('is not complete', spoilt.name, 'does not decode'):
        run(script, folder, '--check')


@zips
def test_a_folder_with_other_things_is_refused(run, tmp_path, script, write_raw, name):
    folder = tmp_path / 'data' / name
    wrong = unpacked(script, folder)
    small_datasets.write_files(wrong, {'letters/1.txt': b'Dear', 'holiday.jpg': b'1'})
    before = contents(folder)
    with expect('holds something else: holiday.jpg, letters'):
        run(script, folder, '--archive', write_raw(tmp_path))
    assert contents(folder) == before
    with expect('is a file'):
        run(script, wrong / 'holiday.jpg', '--check')


def test_tiny_imagenet_is_read_with_the_right_classes(run, tmp_path):
    folder = tmp_path / 'tiny-imagenet-200'
    run(tiny_imagenet, folder, '--archive', small_datasets.write_raw_tiny_imagenet(tmp_path))
    labels = tiny_imagenet.read_labels(
        small_datasets.tiny_imagenet_files(3, 6, 2, prepared=False)['val/val_annotations.txt'].decode()
    )
    val = CustomDataset(str(folder), data_prefix='val')
    assert {Path(item['img_path']).name: val.CLASSES[item['gt_label']] for item in val} == labels
    assert val.CLASSES == CustomDataset(str(folder), data_prefix='train').CLASSES
    assert not (folder / 'test').exists()


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda text: text[: text.index('val_3.JPEG') + 12], 'no WordNet ids: val_3.JPEG'),
        (lambda text: ''.join(text.splitlines(keepends=True)[1:]), 'holds 5 labelled val images; Tiny-ImageNet has 6'),
    ],
)
def test_tiny_imagenet_with_spoilt_labels(run, tmp_path, monkeypatch, spoil, message):
    files = small_datasets.tiny_imagenet_files(3, 6, 2, prepared=False)
    files['val/val_annotations.txt'] = spoil(files['val/val_annotations.txt'].decode()).encode()
    archive = small_datasets.write_zip(
        tmp_path / 'raw.zip', {f'tiny-imagenet-200/{name}': content for name, content in files.items()}
    )
    with expect(message, tiny_imagenet.URL):
        run(tiny_imagenet, tmp_path / 'data' / 'tiny', '--archive', archive)
    assert not (tmp_path / 'data').exists()


@pytest.fixture
def raw_folder(tmp_path):
    """Tiny-ImageNet as unzip leaves it."""
    shutil.unpack_archive(small_datasets.write_raw_tiny_imagenet(tmp_path), tmp_path)
    return tmp_path / 'tiny-imagenet-200'


def test_tiny_imagenet_unpacked_by_hand_is_laid_out_in_place(run, raw_folder, monkeypatch):
    with expect('val/images holds validation images'):
        run(tiny_imagenet, raw_folder, '--check')
    train = contents(raw_folder / 'train')
    rename = Path.rename

    def interrupted(path, target):
        if path.name == 'val_3.JPEG':
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as killed:
        killed.setattr(Path, 'rename', interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_imagenet, raw_folder)
    assert 0 < len(images(raw_folder / 'val' / 'images')) < 6
    run(tiny_imagenet, raw_folder)
    run(tiny_imagenet, raw_folder, '--check')
    assert contents(raw_folder / 'train') == train
    assert len(images(raw_folder / 'val')) == 6


def test_tiny_imagenet_unpacked_by_hand_without_its_labels(run, raw_folder):
    annotations = raw_folder / 'val' / 'val_annotations.txt'
    text = annotations.read_text()
    annotations.unlink()
    with expect('no val_annotations.txt'):
        run(tiny_imagenet, raw_folder)
    annotations.write_text(''.join(text.splitlines(keepends=True)[:-1]))
    with expect('does not name: val_5.JPEG'):
        run(tiny_imagenet, raw_folder)
    annotations.write_text(text.replace('n0', 'x0'))
    with expect('no WordNet ids: val_0.JPEG x0'):
        run(tiny_imagenet, raw_folder)
    assert len(images(raw_folder / 'val' / 'images')) == 6


@pytest.fixture
def raw_cifar10(tmp_path):
    """(archive, folder to prepare), with the sums of the small archive."""
    archive = small_datasets.write_raw_cifar10(tmp_path)
    small_datasets.write_cifar10(tmp_path / 'whole')
    with small_datasets.cifar10_accepted(tmp_path / 'whole' / 'cifar10', archive):
        yield archive, tmp_path / 'data' / 'cifar10'


def test_cifar10_from_an_archive(run, raw_cifar10, capsys):
    archive, folder = raw_cifar10
    with expect('data_batch_1 is missing', 'batches.meta is missing', CIFAR10.url, '--archive'):
        run(cifar10, folder, '--check')
    assert not folder.exists()
    run(cifar10, folder, '--archive', archive)
    assert 'is complete' in capsys.readouterr().out
    assert len(CIFAR10(str(folder), split='train', download=False)) == 100
    before = contents(folder)
    run(cifar10, folder, '--archive', archive)
    run(cifar10, folder, '--check')
    assert contents(folder) == before


def test_cifar10_damaged_files_are_named_and_mended(run, raw_cifar10):
    archive, folder = raw_cifar10
    run(cifar10, folder, '--archive', archive)
    before = contents(folder)
    batch = folder / 'cifar-10-batches-py' / 'data_batch_3'
    batch.write_bytes(batch.read_bytes()[:-1])
    with expect('data_batch_3 is damaged: its MD5 sum is'):
        run(cifar10, folder, '--check')
    run(cifar10, folder, '--archive', archive)
    after = contents(folder)
    assert {path for path in before if before[path] != after[path]} == {'cifar-10-batches-py/data_batch_3'}
    assert before.keys() == after.keys()


def test_cifar10_refuses_other_archives_and_a_full_disk(run, raw_cifar10, monkeypatch):
    archive, folder = raw_cifar10
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    with expect(archive, f'{len(whole) - 100:,} bytes', 'truncated', CIFAR10.tgz_md5, CIFAR10.url):
        run(cifar10, folder, '--archive', archive)
    with expect('There is no file', CIFAR10.url):
        run(cifar10, folder, '--archive', archive.with_name('none.tar.gz'))
    archive.write_bytes(whole)
    with monkeypatch.context() as full:
        full.setattr(cifar10, 'UNPACKED_BYTES', 10**18)
        for arguments in (('--archive', archive), ()):
            with expect('MB free', 'Make room'):
                run(cifar10, folder, *arguments)
    assert not folder.exists()
    run(cifar10, folder, '--archive', archive)


def test_cifar10_is_downloaded(run, raw_cifar10, monkeypatch):
    archive, folder = raw_cifar10
    monkeypatch.setattr(CIFAR10, 'url', archive.as_uri())
    run(cifar10, folder)
    run(cifar10, folder, '--check')
    assert sorted(path.name for path in folder.iterdir()) == ['cifar-10-batches-py', archive.name]
    shutil.rmtree(folder / 'cifar-10-batches-py')
    monkeypatch.setattr(CIFAR10, 'url', 'http://127.0.0.1:9/none')
    run(cifar10, folder)  # from the archive that is there


@pytest.mark.parametrize('url', ['https://127.0.0.1:9/cifar-10-python.tar.gz', 'damaged'])
def test_cifar10_download_that_fails(run, raw_cifar10, monkeypatch, url):
    archive, folder = raw_cifar10
    if url == 'damaged':
        archive.write_bytes(archive.read_bytes()[:-100])
        url = archive.as_uri()
    monkeypatch.setattr(CIFAR10, 'url', url)
    with expect(f'{url} could not be downloaded', '--archive cifar-10-python.tar.gz'):
        run(cifar10, folder)
    assert not contents(folder)


def test_imagenet_complete_and_not(run, tmp_path, capsys):
    folder = small_datasets.write_imagenet(tmp_path, train=2)
    before = contents(folder)
    run(imagenet, folder, '--check')
    assert '1,000 classes' in capsys.readouterr().out
    some, other = small_datasets.WORDNET_IDS[7:9]
    (folder / 'val' / some).rename(folder / 'val' / 'tench')
    (folder / 'train' / other / f'{other}_0.JPEG').unlink()
    (folder / 'train' / other / f'{other}_1.JPEG').unlink()
    with expect(
        f'val: 1 of 1,000 class folders are missing: {some}',
        "val: folders that are none of ImageNet's 1,000 classes: tench",
        f'train: 1,998 of 2,000 images; empty: {other}',
        'torchvision',
    ):
        run(imagenet, folder)
    assert contents(folder).keys() < {*before, f'val/tench/ILSVRC2012_val_{8:08d}.JPEG'}


def test_imagenet_flat_validation_folder_and_broken_image(run, tmp_path):
    folder = small_datasets.write_imagenet(tmp_path, train=2)
    for path in images(folder / 'val'):
        path.rename(folder / 'val' / path.name)
        path.parent.rmdir()
    first = images(folder / 'train')[0]
    first.write_bytes(first.read_bytes()[:300])
    with expect('val holds images, not 1,000 class folders', f"ImageNet('{folder}', 'val')", first.name):
        run(imagenet, folder, '--check')
    with expect('train is missing', 'val is missing', imagenet.URL):
        run(imagenet, tmp_path / 'none')


def test_digits(run, tmp_path, capsys):
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
