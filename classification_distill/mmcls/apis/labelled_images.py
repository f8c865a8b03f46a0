"""Images of a folder of classes, in a part that trains and one that judges."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UnusableInputError
from .folder_images import list_images

VAL_NAMES = ('val', 'valid', 'validation')


@dataclass
class LabelledImages:
    """Images and their classes.

    Attributes:
        root: Folder that their names are below.
        entries: ``img_path`` and ``gt_label`` of each.
    """

    root: Path
    entries: list[dict]

    def annotations(self, classes: Sequence[str]) -> str:
        """A list for MMPretrain's ``BaseDataset``."""
        lines = ',\n'.join(map(json.dumps, self.entries))
        return f'{{"metainfo": {json.dumps({"classes": classes})}, "data_list": [\n{lines}\n]}}\n'


def split_images(
    folder: Path, val: Path | None, val_share: float, out: Path
) -> tuple[list[str], LabelledImages, LabelledImages]:
    """List the images of a folder of classes, and of its part for validation.

    Args:
        folder: With a subfolder a class; or with ``train`` and perhaps ``val`` that are such folders.
        val: Another folder of the same classes; None takes ``val``, or where there is none a share of the images.
        val_share: Share of each class.
        out: Folder of the results.

    Returns:
        tuple: The classes; the images that train; those that judge.

    Raises:
        UnusableInputError: When there are no two classes of two images, ``val`` has a class that is not among them, or
            lies in the folder that trains.
    """
    if not folder.is_dir():
        raise UnusableInputError(f'There is no folder {str(folder)!r}.')
    if (folder / 'train').is_dir():
        val = val or next((folder / name for name in VAL_NAMES if (folder / name).is_dir()), None)
        folder = folder / 'train'
    elif inside := [name for name in VAL_NAMES if (folder / name).is_dir()]:
        raise UnusableInputError(
            f'{folder / inside[0]} would be a class of its own. Put the other classes into {folder / "train"}, beside '
            'it; or move it out of the folder and give it by --val.'
        )
    if val and val.resolve().is_relative_to(folder.resolve()):
        raise UnusableInputError(f'{val} lies in {folder}, so that its images would be trained on. Move it out.')
    classes, images = _list(folder, out)
    if val is None:
        return classes, *_keep_some(images, classes, val_share)
    if not val.is_dir():
        raise UnusableInputError(f'There is no folder {str(val)!r}.')
    theirs, others = _list(val, out / 'validation')
    if unknown := [name for name in theirs if name not in classes]:
        raise UnusableInputError(
            f'{val} has classes that {folder} does not have: {", ".join(unknown[:5])}. There are {", ".join(classes)}.'
        )
    for entry in others.entries:
        entry['gt_label'] = classes.index(theirs[entry['gt_label']])
    return classes, images, others


def _list(folder: Path, out: Path) -> tuple[list[str], LabelledImages]:
    found = list_images(folder, out, with_classes=True)
    print(f'{folder}: {found.count:,} images, {len(found.classes)} classes', *found.notes, sep='\n', flush=True)
    return found.classes, LabelledImages(folder, json.loads(found.annotations)['data_list'])


def _keep_some(images: LabelledImages, classes: list[str], share: float) -> tuple[LabelledImages, LabelledImages]:
    """Every class's images in two parts, the same ones in every call."""
    train, kept, draw = [], [], np.random.default_rng(0)
    for label, name in enumerate(classes):
        entries = [entry for entry in images.entries if entry['gt_label'] == label]
        if len(entries) < 2:
            raise UnusableInputError(
                f'{images.root}/{name} holds one image, and a class needs two: one to train, one to judge. Add some, '
                'or give a folder for validation by --val.'
            )
        order = draw.permutation(len(entries))
        count = min(max(1, round(share * len(entries))), len(entries) - 1)
        kept += [entries[index] for index in sorted(order[:count])]
        train += [entries[index] for index in sorted(order[count:])]
    return LabelledImages(images.root, train), LabelledImages(images.root, kept)
