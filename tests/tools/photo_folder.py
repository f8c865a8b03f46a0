"""A folder of pictures, and the call that distils from it."""

from pathlib import Path

from demo_faces import draw
from PIL import Image

COUNT = 36
EPOCHS = 8  # the signal takes up to a second to reach the training, some ten iterations of 24


def draw_photos(folder: Path) -> Path:
    """Faces as JPEGs in two subfolders, and three files that are none."""
    for i in range(COUNT):
        path = folder / ('Anna B', 'Carl')[i % 2] / f'{i}.jpg'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw(i, 0, 48).image).save(path)
    (folder / 'Carl' / 'empty.png').touch()
    (folder / 'Carl' / 'text.jpeg').write_text('no image')
    (folder / 'Carl' / 'cut.jpg').write_bytes((folder / 'Carl' / '1.jpg').read_bytes()[:400])
    (folder / 'notes.txt').write_text('not looked at')
    return folder


def arguments(photos: Path, out: Path, teacher: str, *more) -> list:
    return [photos, '--teacher', teacher, '--student', 'resnet10t', '--out', out, '--epochs', EPOCHS,
            '--batch-size', 12, '--image-size', 24, *more]  # fmt: skip
