"""Caps, beanies and hats with a brim."""

import cv2
import numpy as np

from .canvas import Canvas, mix
from .hair import VOLUME
from .head import Head


def paint_hat(canvas: Canvas, head: Head) -> None:
    kind = head.scene.hat
    if kind is not None:
        size = 1.12 * (1 + 0.5 * VOLUME.get(head.scene.hair_style, 0))
        {'cap': _cap, 'beanie': _beanie, 'brim': _brim}[kind](canvas, head, size)


def _cap(canvas: Canvas, head: Head, size: float) -> None:
    colour, rim = head.scene.hat_colour, -0.68
    canvas.fill(_dome(head, rim, size), colour, 'hat')
    front = _ring(1.0, 0)
    front = front[front[:, 2] > 0.45]
    edge = front * [1.02, 0, 1.1] + np.array([0, rim, 0])
    tip = front * [1.05, 0, 1.75] + np.array([0, rim + 0.12, 0])
    canvas.fill(_hull(head, np.concatenate([edge, tip])), mix(colour, (0, 0, 0), 0.3), 'hat')


def _beanie(canvas: Canvas, head: Head, size: float) -> None:
    colour, rim, size = head.scene.hat_colour, -0.62, 1.07 * size
    canvas.fill(_dome(head, rim, size), colour, 'hat')
    band = np.concatenate([_ring(1.06 * size, rim + 0.04), _ring(1.06 * size, rim - 0.32)])
    canvas.fill(_hull(head, band), mix(colour, (0, 0, 0), 0.3), 'hat')


def _brim(canvas: Canvas, head: Head, size: float) -> None:
    colour, rim, size = head.scene.hat_colour, -0.68, 1.03 * size
    darker = mix(colour, (0, 0, 0), 0.3)
    brim = _ring(1.85, rim, rise=0.12) - np.array([0, 0, 0.1])
    canvas.fill(_hull(head, brim), darker, 'hat')
    canvas.fill(_dome(head, rim, size), colour, 'hat')
    band = np.concatenate([_ring(1.1 * size, rim - 0.05), _ring(1.1 * size, rim - 0.3)])
    canvas.fill(_hull(head, band[band[:, 2] > -0.4]), darker, None, within=('hat',))
    inner = _ring(1.02 * size, rim)
    front, inner = brim[brim[:, 2] >= -0.15], inner[inner[:, 2] >= -0.15]
    canvas.fill(head.project(np.concatenate([front, inner[::-1]])), mix(colour, (0, 0, 0), 0.12), 'hat')


def _ring(radius: float, y: float, rise: float = 0.0) -> np.ndarray:
    """A ring around the head at height y, whose front lies lower by ``rise`` and whose back higher; shape (73, 3)."""
    angle = np.linspace(-np.pi, np.pi, 73)
    return np.stack([radius * np.sin(angle), y + rise * np.cos(angle), radius * np.cos(angle)], axis=1)


def _dome(head: Head, rim: float, size: float) -> np.ndarray:
    """Outline of a crown from the height ``rim`` up."""
    rings = [
        _ring(1.06 * size * np.sqrt(1 - t**2.5), rim + t * (-1.86 * size - rim)) * [1, 1, 0.95] - np.array([0, 0, 0.1])
        for t in np.linspace(0, 1, 10)
    ]
    return _hull(head, np.concatenate(rings))


def _hull(head: Head, points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(head.project(points).astype(np.float32))[:, 0].astype(float)
