"""The official lists of WFLW, ``list_98pt_rect_attr_{train,test}.txt``."""

from pathlib import Path

import numpy as np
from common import DataError

NUM_POINTS = 98
ATTRIBUTES = ('pose', 'expression', 'illumination', 'make-up', 'occlusion', 'blur')


def read_list(path: Path) -> list[dict]:
    """The faces of an official list.

    Returns:
        For each face ``points`` (98, 2), ``box`` (x and y of two corners), ``attributes`` (0 or 1 by name) and
        ``name``, the path of the image.

    Raises:
        DataError: For the first line that is damaged.
    """
    faces = []
    columns = 2 * NUM_POINTS + 4 + len(ATTRIBUTES) + 1
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split()
        try:
            if len(fields) != columns:
                raise ValueError(f'{len(fields)} columns where {columns} are expected')
            numbers = np.array([float(field) for field in fields[:-1]])
            if not np.isfinite(numbers).all():
                raise ValueError('a number that is not finite')
            attributes = numbers[-len(ATTRIBUTES) :].astype(int)
            if not np.isin(numbers[-len(ATTRIBUTES) :], (0, 1)).all():
                raise ValueError(
                    f'attributes {" ".join(fields[-1 - len(ATTRIBUTES) : -1])}, each of which must be 0 or 1'
                )
        except ValueError as error:
            raise DataError(f'{path}, line {number}: {error}. Unpack WFLW_annotations.tar.gz again.') from error
        faces.append(
            {
                'points': numbers[: 2 * NUM_POINTS].reshape(NUM_POINTS, 2),
                'box': numbers[2 * NUM_POINTS : 2 * NUM_POINTS + 4],
                'attributes': dict(zip(ATTRIBUTES, attributes.tolist(), strict=True)),
                'name': fields[-1],
            }
        )
    if not faces:
        raise DataError(f'{path} is empty. Unpack WFLW_annotations.tar.gz again.')
    return faces
