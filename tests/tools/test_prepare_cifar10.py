import shutil

import cifar10
import pytest
import small_datasets
from mmpretrain.datasets import CIFAR10
from prepare_scripts import contents, expect, run


@pytest.fixture
def raw_cifar10(tmp_path):
    """(archive, folder to prepare), with the sums of the small archive."""
    archive = small_datasets.write_raw_cifar10(tmp_path)
    small_datasets.write_cifar10(tmp_path / 'whole')
    with small_datasets.cifar10_accepted(tmp_path / 'whole' / 'cifar10', archive):
        yield archive, tmp_path / 'data' / 'cifar10'


def test_cifar10_from_an_archive(raw_cifar10, capsys):
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


def test_cifar10_damaged_files_are_named_and_mended(raw_cifar10):
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


def test_cifar10_refuses_other_archives_and_a_full_disk(raw_cifar10, monkeypatch):
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


def test_cifar10_is_downloaded(raw_cifar10, monkeypatch):
    archive, folder = raw_cifar10
    monkeypatch.setattr(CIFAR10, 'url', archive.as_uri())
    run(cifar10, folder)
    run(cifar10, folder, '--check')
    assert sorted(path.name for path in folder.iterdir()) == ['cifar-10-batches-py', archive.name]
    shutil.rmtree(folder / 'cifar-10-batches-py')
    monkeypatch.setattr(CIFAR10, 'url', 'http://127.0.0.1:9/none')
    run(cifar10, folder)  # from the archive that is there


@pytest.mark.parametrize('url', ['https://127.0.0.1:9/cifar-10-python.tar.gz', 'damaged'])
def test_cifar10_download_that_fails(raw_cifar10, monkeypatch, url):
    archive, folder = raw_cifar10
    if url == 'damaged':
        archive.write_bytes(archive.read_bytes()[:-100])
        url = archive.as_uri()
    monkeypatch.setattr(CIFAR10, 'url', url)
    with expect(f'{url} could not be downloaded', '--archive cifar-10-python.tar.gz'):
        run(cifar10, folder)
    assert not contents(folder)
