"""Images inside the page."""

import base64
import io
from pathlib import Path

import mmcv
import numpy as np
from PIL import Image

LARGEST = 640  # pixels


def as_url(image: np.ndarray | Path) -> str:
    """A ``data:`` URL of pixels ``(h, w, 3)``, without loss, or of a file, as JPEG where that is smaller."""
    if isinstance(image, Path):
        # As the networks see it: turned as its EXIF data says, and of 16 bits the upper 8.
        picture = Image.fromarray(mmcv.imfrombytes(image.read_bytes(), channel_order='rgb'))
        picture.thumbnail((LARGEST, LARGEST))
        encoded = {kind: _encode(picture, kind) for kind in ('png', 'jpeg')}
    else:
        encoded = {'png': _encode(Image.fromarray(image), 'png')}
    kind = min(encoded, key=lambda kind: len(encoded[kind]))
    return f'data:image/{kind};base64,{base64.b64encode(encoded[kind]).decode()}'


def _encode(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)
    return buffer.getvalue()
