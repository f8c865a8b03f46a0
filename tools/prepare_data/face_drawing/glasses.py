"""Spectacles and sunglasses."""

import numpy as np

from .canvas import Canvas, mix
from .head import Head


def paint_glasses(canvas: Canvas, head: Head) -> None:
    """Frames hide what is behind them; clear lenses do not hide eyes and brows."""
    scene, scale = head.scene, head.scene.scale
    if scene.glasses is None:
        return
    frame = mix(scene.jewellery, (0.05, 0.05, 0.06), 0.85)
    lines = []
    for side in (-1, 1):
        centre = np.array([side * (scene.eye_distance + 0.02), 0.05])
        outline = head.project(_in_plane(centre + _lens(scene.glasses_shape)))
        if scene.glasses == 'sun':
            canvas.fill(outline, mix(frame, (0.1, 0.07, 0.05), 0.5), 'eye_g')
            canvas.fill(outline[22:38], (1, 1, 1), None, 0.18, ('eye_g',), soft=0.05 * scale)
        else:
            canvas.fill(outline, (0.8, 0.9, 1), 'eye_g', 0.12, ('skin', 'nose', 'hair'))
        hinge, ear = _in_plane(np.array([[side * 0.9, -0.05]])), np.array([[side * (scene.width + 0.02), -0.08, -0.1]])
        lines += [np.concatenate([outline, outline[:1]]), head.project(np.concatenate([hinge, ear]))]
    bridge = np.array([(-0.15, 0.0), (0, -0.05), (0.15, 0.0)])
    for line in (*lines, head.project(_in_plane(bridge))):
        canvas.line(line, max(0.055 * scale, 1.5 / canvas.side), frame, part='eye_g')


def _lens(exponent: float) -> np.ndarray:
    """A superellipse, shape (40, 2)."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    corner = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sign(corner) * np.abs(corner) ** (2 / exponent) * [0.37, 0.29]


def _in_plane(flat: np.ndarray) -> np.ndarray:
    """Points of the slightly bent plane of the glasses in 3-D."""
    return np.concatenate([flat, 1.0 - 0.28 * flat[:, :1] ** 2], axis=1)
