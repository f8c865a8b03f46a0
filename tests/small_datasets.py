"""A handful of images of each data set in its true on-disk format.

``write_<name>(data_root)`` writes what the configs read, where ``data_root`` stands for the repository's ``data``;
``write_raw_<name>(folder)`` writes what is downloaded. Counts are small; names, modes and image sizes are true.
"""

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from mmpretrain.datasets import CIFAR10
from PIL import Image
from timm.data import ImageNetInfo

CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
WORDNET_IDS = ImageNetInfo().label_names()  # the 1,000 of ImageNet-1k


def jpeg(index: int, size: int, mode: str = 'RGB') -> bytes:
    """A JPEG of ``size`` x ``size`` pixels with its own picture for each index."""
    coarse = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).convert(mode).save(buffer, 'JPEG')
    return buffer.getvalue()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def cifar10_files(images: int = 20) -> dict[str, bytes]:
    """The python pickles, with ``images`` images in each of the six batches; labels go round."""
    files = {'batches.meta': pickle.dumps({'num_cases_per_batch': images, 'label_names': list(CIFAR10_CLASSES)}, 2)}
    for k, name in enumerate([*(name for name, _ in CIFAR10.train_list), *(name for name, _ in CIFAR10.test_list)]):
        pictures = [Image.open(io.BytesIO(jpeg(images * k + i, 32))) for i in range(images)]
        batch = {
            'batch_label': name,
            'labels': [i % 10 for i in range(images)],
            'data': np.stack([np.asarray(picture).transpose(2, 0, 1).ravel() for picture in pictures]),
            'filenames': [f'{CIFAR10_CLASSES[i % 10]}_s_{i:06d}.png' for i in range(images)],
        }
        files[name] = pickle.dumps(batch, 2)
    return files


def write_cifar10(data_root: Path, images: int = 20) -> Path:
    """data_root/cifar10/cifar-10-batches-py; it is read by the real class inside ``cifar10_accepted(folder)``."""
    folder = Path(data_root, 'cifar10')
    write_files(folder / CIFAR10.base_folder, cifar10_files(images))
    return folder


def write_raw_cifar10(folder: Path, images: int = 20) -> Path:
    path = Path(folder, CIFAR10.filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in cifar10_files(images).items():
            member = tarfile.TarInfo(f'{CIFAR10.base_folder}/{name}')
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@contextmanager
def cifar10_accepted(folder: Path, archive: Path | None = None) -> Iterator[None]:
    """``CIFAR10`` expects the MD5 sums of the small copy in ``folder`` (and of ``archive``) instead of the true ones.

    For a run in a process of its own, let the config import a module (``custom_imports``) that enters it.
    """

    def md5(path: Path) -> str:
        return hashlib.md5(path.read_bytes()).hexdigest()

    batches = Path(folder, CIFAR10.base_folder)
    sums = {
        'train_list': [[name, md5(batches / name)] for name, _ in CIFAR10.train_list],
        'test_list': [[name, md5(batches / name)] for name, _ in CIFAR10.test_list],
        'meta': CIFAR10.meta | {'md5': md5(batches / CIFAR10.meta['filename'])},
    }
    if archive:
        sums['tgz_md5'] = md5(archive)
    with patch.multiple(CIFAR10, **sums):
        yield


def tiny_imagenet_files(classes: int, train: int, val: int, prepared: bool) -> dict[str, bytes]:
    wordnet_ids = WORDNET_IDS[:classes]
    files = {
        'wnids.txt': ''.join(f'{wordnet_id}\n' for wordnet_id in wordnet_ids).encode(),
        'words.txt': ''.join(f'{wordnet_id}\tname\n' for wordnet_id in wordnet_ids).encode(),
    }
    annotations = []
    for k, wordnet_id in enumerate(wordnet_ids):
        boxes = [f'{wordnet_id}_{i}.JPEG\t0\t0\t62\t62\n' for i in range(train)]
        files[f'train/{wordnet_id}/{wordnet_id}_boxes.txt'] = ''.join(boxes).encode()
        for i in range(train):  # a few of the true images are grey
            mode = 'L' if i == 1 else 'RGB'
            files[f'train/{wordnet_id}/images/{wordnet_id}_{i}.JPEG'] = jpeg(1000 * k + i, 64, mode)
        for i in range(k, classes * val, classes):
            folder = f'val/{wordnet_id}/images' if prepared else 'val/images'
            files[f'{folder}/val_{i}.JPEG'] = jpeg(10**6 + i, 64)
            annotations.append((i, f'val_{i}.JPEG\t{wordnet_id}\t0\t0\t62\t62\n'))
    files['val/val_annotations.txt'] = ''.join(line for _, line in sorted(annotations)).encode()
    if not prepared:
        files |= {f'test/images/test_{i}.JPEG': jpeg(2 * 10**6 + i, 64) for i in range(classes * val)}
    return files


def write_tiny_imagenet(data_root: Path, classes: int = 3, train: int = 6, val: int = 2) -> Path:
    """data_root/tiny-imagenet-200/{train,val}/<WordNet id>/images/*.JPEG; ``train``, ``val``: images per class."""
    folder = Path(data_root, 'tiny-imagenet-200')
    write_files(folder, tiny_imagenet_files(classes, train, val, prepared=True))
    return folder


def write_raw_tiny_imagenet(folder: Path, classes: int = 3, train: int = 6, val: int = 2) -> Path:
    files = tiny_imagenet_files(classes, train, val, prepared=False)
    return write_zip(
        Path(folder, 'tiny-imagenet-200.zip'), {f'tiny-imagenet-200/{name}': files[name] for name in files}
    )


def write_imagenet(data_root: Path, classes: int = 1000, train: int = 1, val: int = 1) -> Path:
    """data_root/imagenet/{train,val}/<WordNet id>/*.JPEG; MMPretrain's ``ImageNet`` wants all 1,000 classes."""
    folder = Path(data_root, 'imagenet')
    contents = [jpeg(k, 64, 'L' if k == 1 else 'RGB') for k in range(16)]
    for k, wordnet_id in enumerate(WORDNET_IDS[:classes]):
        files = {f'train/{wordnet_id}/{wordnet_id}_{i}.JPEG': contents[(k + i) % 16] for i in range(train)}
        for i in range(val):
            number = k * val + i + 1
            files[f'val/{wordnet_id}/ILSVRC2012_val_{number:08d}.JPEG'] = contents[(k + i + 8) % 16]
        write_files(folder, files)
    return folder


def celebahq_files(images: int, size: int) -> dict[str, bytes]:
    return {f'CelebA-HQ-img/{i}.jpg': jpeg(i, size) for i in range(images)}


def write_celebahq(data_root: Path, images: int = 6, size: int = 1024) -> Path:
    """data_root/celebaHQ_mask/CelebAMask-HQ/CelebA-HQ-img/<index>.jpg."""
    folder = Path(data_root, 'celebaHQ_mask', 'CelebAMask-HQ')
    write_files(folder, celebahq_files(images, size))
    return folder


def write_raw_celebahq(folder: Path, images: int = 6, size: int = 1024) -> Path:
    """CelebAMask-HQ.zip with the images, and of the rest one mask an image and the mapping to CelebA."""
    mask = io.BytesIO()
    Image.new('RGB', (512, 512)).save(mask, 'PNG')
    mapping = [f'{i:8d}{i + 119613:12d}{f"{i + 119614:06d}.jpg":>16}\n' for i in range(images)]
    files = celebahq_files(images, size) | {
        'CelebA-HQ-to-CelebA-mapping.txt': ''.join(['    idx    orig_idx    orig_file\n', *mapping]).encode()
    }
    files |= {f'CelebAMask-HQ-mask-anno/{i // 2000}/{i:05d}_skin.png': mask.getvalue() for i in range(images)}
    return write_zip(Path(folder, 'CelebAMask-HQ.zip'), {f'CelebAMask-HQ/{name}': files[name] for name in files})


def write_cifar10_few_labels(data_root: Path, images: int = 20) -> None:
    """data_root/cifar10_few_labels, with the lists that the configs name."""
    folder = Path(data_root, 'cifar10_few_labels')
    (folder / 'images').mkdir(parents=True)
    (folder / 'meta').mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(images, 32, 32, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / 'images' / f'{index}.png')
    lines = ''.join(f'{index}.png {index % 10}\n' for index in range(images))
    for name in ('train_45000_0', 'val', 'test'):
        (folder / 'meta' / f'{name}.txt').write_text(lines)
