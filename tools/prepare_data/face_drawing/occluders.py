"""Things between face and camera; their pixels are background, as in CelebAMask-HQ."""

import numpy as np

from .canvas import Canvas, mix
from .curves import DOWN, RIGHT, ellipse
from .head import Head


def paint_occluder(canvas: Canvas, head: Head, points: np.ndarray, rng: np.random.Generator) -> None:
    """Paint the occluder of the scene.

    Args:
        canvas: Where to paint.
        head: The head.
        points: The 98 points in the picture, shape (98, 2).
        rng: Where it is and its colour.
    """
    kind = head.scene.occluder
    if kind is not None:
        {'bar': _bar, 'microphone': _microphone, 'cup': _cup, 'hand': _hand}[kind](canvas, head, points, rng)


def _bar(canvas: Canvas, head: Head, points: np.ndarray, rng: np.random.Generator) -> None:
    start, end = points[rng.integers(33)], points[rng.integers(33, 96)]
    along = (end - start) / np.linalg.norm(end - start).clip(1e-3)
    line = np.stack([start - 2 * along, end + 2 * along])
    canvas.line(line, rng.uniform(0.25, 0.45) * head.scene.scale, rng.uniform(0.1, 0.9, 3), part='background')


def _microphone(canvas: Canvas, head: Head, points: np.ndarray, rng: np.random.Generator) -> None:
    scale = head.scene.scale
    tip = points[85] + 0.25 * scale * DOWN + rng.uniform(-0.3, 0.3) * scale * RIGHT
    stick = np.stack([tip, tip + DOWN + rng.uniform(-0.2, 0.2) * RIGHT])
    canvas.line(stick, 0.2 * scale, (0.15, 0.15, 0.17), part='background')
    canvas.fill(ellipse(tip, (0.34 * scale, 0.38 * scale)), (0.22, 0.22, 0.24), 'background')
    canvas.fill(ellipse(tip - 0.1 * scale, (0.14 * scale,) * 2), (0.55, 0.55, 0.58), None, 0.6, soft=0.15 * scale)


def _cup(canvas: Canvas, head: Head, points: np.ndarray, rng: np.random.Generator) -> None:
    colour = rng.uniform(0.1, 0.9, 3)
    corners = np.array([(-0.52, -0.2), (0.52, -0.2), (0.42, 1.2), (-0.42, 1.2)]) * head.scene.scale
    place = points[85] + rng.uniform(-0.3, 0.3) * head.scene.scale * RIGHT
    canvas.fill(place + corners, colour, 'background')
    canvas.fill(place + corners * [1, 0.2], mix(colour, (1, 1, 1), 0.3))


def _hand(canvas: Canvas, head: Head, points: np.ndarray, rng: np.random.Generator) -> None:
    scale, skin = head.scene.scale, mix(head.scene.skin, (0, 0, 0), 0.08)
    place = points[rng.choice([6, 26, 85])]
    lean = rng.uniform(-0.5, 0.5)
    across = scale * np.array([np.cos(lean), np.sin(lean)])
    down = scale * np.array([-np.sin(lean), np.cos(lean)])
    wrist = place + 1.05 * down
    canvas.line(np.stack([wrist, wrist + DOWN]), 0.62 * scale, skin, part='background')
    canvas.fill(ellipse(place + 0.75 * down, (0.5 * scale, 0.55 * scale)), skin, 'background')
    for x, length in ((-0.36, 0.5), (-0.12, 0.65), (0.12, 0.6), (0.36, 0.42)):
        finger = np.stack([place + x * across + 0.6 * down, place + 1.1 * x * across + (0.3 - length) * down])
        canvas.line(finger, 0.22 * scale, skin, part='background')
        canvas.fill(ellipse(finger[1], (0.11 * scale,) * 2), skin, 'background')
        canvas.line(finger + 0.11 * scale * RIGHT, 0.02 * scale, mix(skin, (0, 0, 0), 0.5), 0.6)
