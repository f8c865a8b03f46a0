"""From the description of a face to its picture, part masks and points."""

from dataclasses import dataclass

import cv2
import numpy as np

from . import textures
from .canvas import Canvas
from .clothes import paint_cloth, paint_earring, paint_necklace
from .face import paint_ear, paint_features, paint_neck, paint_skin, paint_skull
from .features import points_3d
from .glasses import paint_glasses
from .hair import hair_texture, paint_back_hair, paint_front_hair, paint_hair_volume
from .hats import paint_hat
from .head import Head
from .occluders import paint_occluder
from .photograph import expose, light
from .scene import Scene

OVERSAMPLING = 2
BODY_TURN = 0.3


@dataclass
class Portrait:
    """A drawn face.

    Attributes:
        image: RGB, shape (size, size, 3), uint8.
        labels: Index into ``CLASSES`` of what is seen at each pixel, shape (size / 2, size / 2), uint8.
        masks: Mask of each part that is seen, by its name, shape (size / 2, size / 2), bool; painted over each other in
            the official order they give ``labels``.
        points: The 98 points of WFLW as x and y in pixels of the image, where (0, 0) is the middle of the first pixel;
            shape (98, 2).
        attributes: The six of WFLW by name, 0 or 1.
    """

    image: np.ndarray
    labels: np.ndarray
    masks: dict[str, np.ndarray]
    points: np.ndarray
    attributes: dict[str, int]


def draw_face(scene: Scene, size: int) -> Portrait:
    """Draw a face.

    Args:
        scene: Its description.
        size: Pixels along a side of the image, an even number; the masks have half of it, as in CelebAMask-HQ.
    """
    rng = np.random.default_rng(scene.seed)
    canvas = Canvas(OVERSAMPLING * size)
    head = Head(scene)
    points = points_3d(head)
    _paint(canvas, head, points, rng)
    lit = light(canvas.image, canvas.labels, head)
    small = cv2.resize(lit, (size, size), interpolation=cv2.INTER_AREA)
    return Portrait(
        image=expose(small, head, rng),
        labels=canvas.labels[OVERSAMPLING :: 2 * OVERSAMPLING, OVERSAMPLING :: 2 * OVERSAMPLING],
        masks=canvas.part_masks(2 * OVERSAMPLING),
        points=project_points(scene, size),
        attributes=scene.attributes,
    )


def project_points(scene: Scene, size: int) -> np.ndarray:
    """The points of ``Portrait``, without drawing it."""
    head = Head(scene)
    return head.project(points_3d(head)) * size - 0.5


def _paint(canvas: Canvas, head: Head, points: np.ndarray, rng: np.random.Generator) -> None:
    """From back to front."""
    scene, body = head.scene, Head(head.scene, BODY_TURN)
    canvas.image[:] = textures.background(scene.background_kind, scene.background, canvas.side, rng)
    hair = hair_texture(head, canvas.side, rng)
    far = 1 if scene.yaw > 0 else -1
    paint_back_hair(canvas, head, body, hair)
    paint_neck(canvas, head, body)
    paint_cloth(canvas, body)
    paint_necklace(canvas, body)
    if scene.hair_style == 'bald':
        paint_skull(canvas, head)
    else:
        paint_hair_volume(canvas, head, hair, rng)
    for side in (-1, 1):
        paint_ear(canvas, head, side)
    paint_earring(canvas, head, far)
    paint_skin(canvas, head, points)
    paint_features(canvas, head, points, hair)
    paint_glasses(canvas, head)
    paint_earring(canvas, head, -far)
    paint_front_hair(canvas, head, body, hair, rng)
    paint_hat(canvas, head)
    paint_occluder(canvas, head, head.project(points), rng)
