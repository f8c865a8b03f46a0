"""Download CIFAR-10: python tools/prepare_data/cifar10.py [FOLDER] [--archive cifar-10-python.tar.gz] [--check]

60,000 colour images of 32x32 pixels in 10 classes (Krizhevsky 2009), as the python pickles that MMPretrain reads:
``cifar-10-batches-py/{data_batch_1-5,test_batch,batches.meta}``. The MD5 sums of the archive and each file are known.
"""

import socket
import tarfile
from contextlib import redirect_stdout
from http.client import HTTPException
from pathlib import Path

from common import DATA_ROOT, DataError, parse_args, progress_bar, report, require_space, run, write_file

with redirect_stdout(None):  # it says that a library is missing which nothing here needs
    from mmpretrain.datasets import CIFAR10
    from mmpretrain.datasets.utils import calculate_md5, check_integrity, download_url

FOLDER = DATA_ROOT / 'cifar10'
ARCHIVE_BYTES, UNPACKED_BYTES = 171_000_000, 187_000_000
TIMEOUT_SECONDS = 30
ADVICE = (
    f'python tools/prepare_data/cifar10.py downloads it from {CIFAR10.url}; '
    f'one that you have is taken by --archive {CIFAR10.filename}'
)


def known_sums() -> dict[str, str]:
    """The MD5 sum of each file."""
    return dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta['filename'], CIFAR10.meta['md5'])])


def find_problems(folder: Path) -> dict[str, str]:
    """What is wrong with a file, by its name; nothing for a complete folder."""
    problems = {}
    for name, expected in known_sums().items():
        path = folder / CIFAR10.base_folder / name
        if not path.is_file():
            problems[name] = f'{CIFAR10.base_folder}/{name} is missing'
        elif (found := calculate_md5(path)) != expected:
            problems[name] = f'{CIFAR10.base_folder}/{name} is damaged: its MD5 sum is {found}, not {expected}'
    return problems


def download(folder: Path) -> Path:
    """Download the archive into ``folder``, where it bears its name only once its MD5 sum is right."""
    archive = folder / CIFAR10.filename
    if check_integrity(archive, CIFAR10.tgz_md5):
        return archive
    require_space(folder, ARCHIVE_BYTES + UNPACKED_BYTES)
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    partial = folder / f'{CIFAR10.filename}.partial'
    try:
        download_url(CIFAR10.url, str(folder), partial.name, CIFAR10.tgz_md5)
    except (OSError, HTTPException, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise DataError(
            f'{CIFAR10.url} could not be downloaded: {error}\n'
            f'Check the connection and call it again, or download it elsewhere and give --archive {CIFAR10.filename}.'
        ) from error
    return partial.replace(archive)


def unpack(archive: Path, folder: Path, names: list[str]) -> None:
    """Write the named files of the archive into ``folder``."""
    if not archive.is_file():
        raise DataError(f'There is no file {archive}. Download it from {CIFAR10.url}.')
    if not check_integrity(archive, CIFAR10.tgz_md5):
        raise DataError(
            f'{archive} ({archive.stat().st_size:,} bytes) is truncated or another file: its MD5 sum is '
            f'{calculate_md5(archive)}, not {CIFAR10.tgz_md5}. Download it again from {CIFAR10.url}.'
        )
    require_space(folder, UNPACKED_BYTES)
    with tarfile.open(archive) as tar:
        for name in progress_bar(names, f'unpacking to {folder.name}'):
            write_file(folder / CIFAR10.base_folder / name, tar.extractfile(f'{CIFAR10.base_folder}/{name}'))


def main() -> None:
    args = parse_args(__doc__, FOLDER, archive=CIFAR10.filename)
    problems = find_problems(args.folder)
    if problems and not args.check:
        unpack(args.archive or download(args.folder), args.folder, list(problems))
        problems = find_problems(args.folder)
    report(args.folder, list(problems.values()), '50,000 training and 10,000 test images', ADVICE)


if __name__ == '__main__':
    run(main)
