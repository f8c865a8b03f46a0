"""Hair, behind the head, around it and before it."""

import numpy as np

from . import textures
from .canvas import Canvas, mix
from .curves import ellipse, smooth
from .face import hairline
from .head import SKULL_CENTRE, SKULL_RADII, Head

VOLUME = {'shaved': 0.02, 'short': 0.16, 'curly': 0.32, 'bob': 0.2, 'long': 0.18, 'bun': 0.09}
LENGTH = {'bob': 1.35, 'long': 2.9}  # how far below the eyes it reaches


def hair_texture(head: Head, side: int, rng: np.random.Generator) -> np.ndarray:
    scene = head.scene
    if scene.hair_style == 'shaved':
        return mix(scene.skin, scene.hair, 0.6) * (0.85 + 0.3 * rng.random((side, side, 1), dtype=np.float32))
    crown = head.project(np.array([[0.5 * scene.parting, -1.5, 0.2]]))[0]
    return textures.hair(scene.hair, rng, side, crown, curly=scene.hair_style == 'curly')


def paint_back_hair(canvas: Canvas, head: Head, body: Head, texture: np.ndarray) -> None:
    """What hangs down behind the neck."""
    length = LENGTH.get(head.scene.hair_style)
    if length is None:
        return
    wide = 1.05 + VOLUME[head.scene.hair_style]
    top = head.project(np.array([[-wide, -0.6, -0.3], [wide, -0.6, -0.3]]))
    ends = np.array([[wide + 0.12, 0.6 * length, -0.4], [wide, length, -0.4], [0, length + 0.1, -0.4]])
    bottom = body.project(np.concatenate([ends, ends[-2::-1] * [-1, 1, 1]]))
    canvas.fill(smooth(np.concatenate([top[1:], bottom, top[:1]]), closed=True), texture * 0.75, 'hair')


def paint_hair_volume(canvas: Canvas, head: Head, texture: np.ndarray, rng: np.random.Generator) -> None:
    """The hair around the skull, which the face is painted over."""
    style = head.scene.hair_style
    if style == 'bald':
        return
    grown = 1 + VOLUME[style] * np.array([0.75, 1, 0.8])
    centre = np.array(SKULL_CENTRE) - [0, 0.3 * VOLUME[style], 0]
    outline = head.ellipsoid(centre, np.multiply(SKULL_RADII, grown) * [head.scene.width, 1, 1], 72)
    middle = outline.mean(axis=0)
    rough = {'curly': 0.06, 'short': 0.02}.get(style, 0.005)
    outline = middle + (outline - middle) * (1 + rough * rng.uniform(-1, 1, (72, 1)))
    canvas.fill(smooth(outline, closed=True, steps=3), texture, 'hair')
    if style == 'bun':
        bun = head.project(np.array([[0.3 * head.scene.parting, -2.0, -0.5]]))[0]
        canvas.fill(ellipse(bun, np.multiply((0.48, 0.42), head.scene.scale)), texture * 0.9, 'hair')


def paint_front_hair(canvas: Canvas, head: Head, body: Head, texture: np.ndarray, rng: np.random.Generator) -> None:
    """Locks beside the face and a fringe over the forehead."""
    if head.scene.hair_style in LENGTH:
        for side in (-1, 1):
            _lock(canvas, head, body, texture, side)
    if head.scene.fringe:
        _fringe(canvas, head, texture, rng)


def _lock(canvas: Canvas, head: Head, body: Head, texture: np.ndarray, side: int) -> None:
    style = head.scene.hair_style
    length, wide = LENGTH[style], 1.12 + VOLUME[style]
    beside = head.outline(np.array([-0.85, -0.5, -0.1, 0.35]), side) * [0.985, 1, 1] + np.array([0, 0, 0.08])
    inner = [head.project(beside), body.project(np.array([[side * 0.88, 0.6 * length, 0], [side, length, 0]]))]
    outer = np.array([[wide, 0.85 * length, -0.1], [wide + 0.1, 0.5 * length, -0.1]]) * [side, 1, 1]
    upper = np.array([[wide - 0.06, -0.3, -0.1], [0.8, -1.25, 0.0]]) * [side, 1, 1]
    outline = np.concatenate([*inner, body.project(outer), head.project(upper)])
    canvas.fill(smooth(outline, closed=True, steps=4), texture, 'hair')


def _fringe(canvas: Canvas, head: Head, texture: np.ndarray, rng: np.random.Generator) -> None:
    top = hairline(head, head.scene.hairline)
    top = top[len(top) // 8 : -(len(top) // 8)]
    num = 13
    x = np.linspace(0.86, -0.86, num) * head.scene.width
    low = -head.scene.hairline + head.scene.fringe * (head.scene.hairline - 0.22)
    slant = 0.15 * head.scene.parting * x - 0.12 * (np.abs(x) - 0.5)
    y = low + slant + np.where(np.arange(num) % 2, 0.07, -0.07) + rng.uniform(-0.04, 0.04, num)
    bottom = head.on_surface(np.stack([x, np.minimum(y, -0.16), np.full(num, 0.05)], axis=1))
    outline = head.project(np.concatenate([top - np.array([0, 0.1, 0]), bottom]))
    canvas.fill(outline, texture * 1.05, 'hair')
