"""Clothes and jewellery."""

import numpy as np

from . import textures
from .canvas import Canvas, mix
from .curves import DOWN, ellipse, smooth
from .face import ear_lobe
from .head import Head


def paint_cloth(canvas: Canvas, body: Head) -> None:
    scene, scale = body.scene, body.scene.scale
    deep = {'round': 2.04, 'v': 2.75, 'collar': 2.2}[scene.cloth]
    if scene.cloth == 'round':
        half = np.array([(-0.82, 1.68), (-0.62, 1.87), (-0.33, 2.0), (0, deep)])
    else:
        half = np.array([(-0.82, 1.65), (-0.55, 2.0), (-0.27, (deep + 2.0) / 2), (0, deep)])
    neckline = np.concatenate([half, half[-2::-1] * [-1, 1]])
    neckline = smooth(neckline) if scene.cloth == 'round' else neckline
    shoulders = np.array(
        [(1.2, 1.95), (2.1, 2.3), (2.6, 3.0), (2.8, 6), (-2.8, 6), (-2.6, 3.0), (-2.1, 2.3), (-1.2, 1.95)]
    )
    outline = body.project(_at_depth(np.concatenate([neckline, shoulders]), -0.1))
    other = mix(scene.cloth_colour, (1, 1, 1), 0.45)
    texture = textures.cloth(scene.cloth_pattern, scene.cloth_colour, other, canvas.side, 0.35 * scale)
    canvas.fill(outline, texture, 'cloth')
    edge = body.project(_at_depth(neckline, -0.1))
    canvas.line(edge, 0.09 * scale, mix(scene.cloth_colour, (0, 0, 0), 0.35), 0.7, ('cloth',))
    if scene.cloth == 'collar':
        for side in (-1, 1):
            collar = np.array([(0.84, 1.55), (0.5, 2.0), (0.1, deep), (0.55, deep + 0.25), (1.0, 1.85)]) * [side, 1]
            canvas.fill(body.project(_at_depth(collar, 0)), mix(scene.cloth_colour, (1, 1, 1), 0.2), 'cloth')
            canvas.line(body.project(_at_depth(collar[1:], 0)), 0.03 * scale, (0, 0, 0), 0.4, ('cloth',))


def paint_necklace(canvas: Canvas, body: Head) -> None:
    scene, scale = body.scene, body.scene.scale
    if scene.necklace is None:
        return
    x = np.linspace(-0.74, 0.74, 27)
    drop = 0.3 if scene.necklace == 'beads' else 0.42
    points = body.project(_at_depth(np.stack([x, 1.68 + drop * (1 - (x / 0.74) ** 2)], axis=1), 0.0))
    radius = (0.075 if scene.necklace == 'beads' else 0.045) * scale
    for point in points:
        canvas.fill(ellipse(point, (radius, radius), 12), mix(scene.jewellery, (0, 0, 0), 0.35), 'neck_l')
        canvas.fill(ellipse(point - radius * 0.2, (radius * 0.6,) * 2, 10), scene.jewellery, None)
    if scene.necklace == 'chain':
        canvas.fill(ellipse(points[13] + 0.11 * scale * DOWN, (0.09 * scale, 0.12 * scale)), scene.jewellery, 'neck_l')


def paint_earring(canvas: Canvas, head: Head, side: int) -> None:
    """The earring on the left (-1) or right (1) of the picture, where that ear is seen."""
    scene, scale = head.scene, head.scene.scale
    if scene.earrings is None:
        return
    lobe = head.project(ear_lobe(head, side)[None])[0]
    if scene.earrings == 'stud':
        canvas.fill(ellipse(lobe, (0.065 * scale,) * 2, 16), scene.jewellery, 'ear_r')
    elif scene.earrings == 'hoop':
        ring = ellipse(lobe + 0.18 * scale * DOWN, (0.13 * scale, 0.18 * scale))
        width = max(0.05 * scale, 1.5 / canvas.side)
        canvas.line(np.concatenate([ring, ring[:1]]), width, scene.jewellery, part='ear_r')
    else:
        drop = np.array([(0, -0.05), (0.05, 0.15), (0.11, 0.38), (0, 0.52), (-0.11, 0.38), (-0.05, 0.15)])
        canvas.fill(smooth(lobe + drop * scale, closed=True), mix(scene.jewellery, (0, 0, 0), 0.3), 'ear_r')
        canvas.fill(ellipse(lobe + 0.38 * scale * DOWN, (0.06 * scale, 0.07 * scale)), scene.jewellery, None)


def _at_depth(flat: np.ndarray, z: float) -> np.ndarray:
    return np.concatenate([flat, np.full((len(flat), 1), z)], axis=1)
