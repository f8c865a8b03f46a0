"""Skin, ears and features of a face."""

import numpy as np

from .canvas import Canvas, mix
from .curves import DOWN, ellipse, smooth
from .features import MIRRORED, nose_halves
from .head import SKULL_CENTRE, SKULL_RADII, TEMPLE, Head

SKIN_PARTS = ('skin', 'nose')
BLOOD = (0.75, 0.30, 0.28)


def hairline(head: Head, height: float) -> np.ndarray:
    """The edge of the forehead from temple to temple in 3-D, ``height`` above the eyes in its middle."""
    widths = np.array([0.97, 0.9, 0.72, 0.4, 0])
    heights = -np.array([0.28, 0.5, 0.78, 0.95, 1.0]) * [1, 1, height, height, height]
    x = widths * head.half_width(heights)
    half = np.stack([x, heights], axis=1)
    flat = np.concatenate([half * [-1, 1], half[-2::-1]])
    return head.on_surface(smooth(flat))


def paint_neck(canvas: Canvas, head: Head, body: Head) -> None:
    scene = head.scene
    skin = mix(scene.skin, (0, 0, 0), 0.12)
    edge = head.contour_heights[9]
    width = 0.72 * scene.width
    below_ear = np.array([[width, edge, -0.2]])
    shoulder = np.array([[width, 1.75, -0.35], [0.95, 2.15, -0.3], [1.9, 2.5, -0.3], [1.9, 4, -0.3]])
    left, right = (
        smooth(np.concatenate([head.project(below_ear * [side, 1, 1]), body.project(shoulder * [side, 1, 1])]))
        for side in (-1, 1)
    )
    canvas.fill(np.concatenate([left, right[::-1]]), skin, 'neck')
    chin = head.project(np.array([[0, head.chin + 0.12, 0.1]]))[0]
    shadow = ellipse(chin, (0.75 * scene.scale, 0.4 * scene.scale))
    canvas.fill(shadow, mix(skin, (0.15, 0.05, 0.05), 0.5), None, 0.8, ('neck',), soft=0.35 * scene.scale)


def paint_skull(canvas: Canvas, head: Head) -> None:
    """The part of a bald head that is not its face."""
    outline = head.ellipsoid(SKULL_CENTRE, np.multiply(SKULL_RADII, [head.scene.width, 1, 1]))
    canvas.fill(outline, head.scene.skin, 'skin')


def ear_lobe(head: Head, side: int) -> np.ndarray:
    """Where an earring hangs, in 3-D, shape (3,)."""
    return np.array([side * (head.scene.width + 0.03), 0.5, -0.11])


def paint_ear(canvas: Canvas, head: Head, side: int) -> None:
    """The ear on the left (-1) or right (1) of the picture."""
    x = head.scene.width - 0.04
    out = np.array([0, 0.1, 0.19, 0.22, 0.2, 0.15, 0.11, 0.06, 0])
    y = np.array([-0.1, -0.22, -0.2, -0.05, 0.15, 0.32, 0.47, 0.53, 0.42])
    outline = smooth(np.stack([side * (x + out), y, -0.05 - 0.8 * out], axis=1), closed=True)
    skin = mix(head.scene.skin, BLOOD, 0.15)
    canvas.fill(head.project(outline), skin, 'l_ear' if side == 1 else 'r_ear')
    middle = outline.mean(axis=0)
    inner = head.project(middle + (outline - middle) * 0.55)
    part = ('l_ear' if side == 1 else 'r_ear',)
    canvas.fill(inner, mix(skin, (0.2, 0.05, 0.05), 0.4), None, 0.7, part, soft=0.06 * head.scene.scale)


def paint_skin(canvas: Canvas, head: Head, points: np.ndarray) -> None:
    """The face up to the hairline, or to the top of a bald head.

    Args:
        canvas: Where to paint.
        head: The head.
        points: The 98 points on it, shape (98, 3).
    """
    if head.scene.hair_style == 'bald':
        heights = np.linspace(TEMPLE, -1.75, 14)
        top = np.concatenate([head.outline(heights, -1), head.outline(heights, 1)[::-1]])
    else:
        top = hairline(head, head.scene.hairline)
    lower = smooth(head.project(points[:33]))
    canvas.fill(np.concatenate([lower, head.project(top)[::-1]]), head.scene.skin, 'skin')


def paint_features(canvas: Canvas, head: Head, points: np.ndarray, hair: np.ndarray) -> None:
    """Soft shades, then nose, mouth, eyes and brows; see ``paint_skin`` for the arguments."""
    _shades(canvas, head)
    _beard(canvas, head, points, hair)
    _nose(canvas, head, points)
    _mouth(canvas, head, head.project(points[76:96]))
    right_brow, left_brow = points[33:42], points[MIRRORED[33:42]]
    for side, eye, brow, pupil in ((-1, points[60:68], right_brow, 96), (1, points[68:76], left_brow, 97)):
        _eye(canvas, head, side, head.project(eye), head.project(points[pupil : pupil + 1])[0])
        _brow(canvas, head, side, head.project(brow))


def _shades(canvas: Canvas, head: Head) -> None:
    scene, scale = head.scene, head.scene.scale
    dark, rosy = mix(scene.skin, (0.25, 0.08, 0.05), 0.35), mix(scene.skin, BLOOD, 0.5)

    def soft(x, y, radii, colour, strength):
        place = head.project(head.on_surface(np.array([[x, y]])))[0]
        outline = ellipse(place, np.multiply(radii, scale))
        canvas.fill(outline, colour, None, strength, ('skin',), soft=0.5 * min(radii) * scale)

    for side in (-1, 1):
        soft(side * scene.eye_distance, -0.08, (0.34, 0.2), dark, 0.55)
        soft(side * 0.55, 0.62, (0.3, 0.24), rosy, 0.7 if scene.make_up else 0.3)
        soft(side * 0.85, 0.9, (0.2, 0.6), dark, 0.35)
    soft(0, 0.62 * scene.chin + 0.3, (0.3, 0.09), dark, 0.6)
    soft(0, -0.65, (0.5, 0.3), mix(scene.skin, (1, 1, 1), 0.3), 0.4)
    soft(0, scene.chin - 0.2, (0.25, 0.14), mix(scene.skin, (1, 1, 1), 0.25), 0.4)


def _beard(canvas: Canvas, head: Head, points: np.ndarray, hair: np.ndarray) -> None:
    """Stubble to full beard: hair on the lower face, which CelebAMask-HQ counts as skin."""
    strength = head.scene.beard
    if not strength:
        return
    mouth = points[76:88].mean(axis=0)
    lip = head.scene.chin * 0.62 - 0.17
    upper = np.array([(0.97, 0.1), (0.86, 0.5), (0.72, lip + 0.08), (0.42, lip + 0.05), (0.2, lip), (0, lip + 0.02)])
    upper = head.on_surface(upper * [head.scene.width, 1])
    upper = np.concatenate([upper * [-1, 1, 1], upper[-2::-1]])
    outline = np.concatenate([points[2:31], smooth(upper)[::-1]])
    canvas.fill(head.project(outline), 0.85 * hair, None, strength, ('skin',), soft=0.16 * head.scene.scale)
    below = head.project(mouth[None] + np.array([0, 0.3, 0]))[0]
    bare = ellipse(below, np.multiply((0.16, 0.1), head.scene.scale))
    canvas.fill(bare, head.scene.skin, None, 0.4, ('skin',), soft=0.05 * head.scene.scale)


def _nose(canvas: Canvas, head: Head, points: np.ndarray) -> None:
    scene, scale = head.scene, head.scene.scale
    halves = [head.project(half) for half in nose_halves(head)]
    canvas.fill([smooth(half, closed=True, steps=4) for half in halves], scene.skin, 'nose')
    ridge, base = head.project(points[51:55]), head.project(points[55:60])
    averted = halves[0] if scene.light[0] > 0 else halves[1]
    canvas.fill(averted, mix(scene.skin, (0.3, 0.1, 0.05), 0.5), None, 0.3, ('nose',), soft=0.1 * scale)
    canvas.fill(ellipse(ridge[3], (0.1 * scale,) * 2), (1, 1, 1), None, 0.25, ('nose',), soft=0.12 * scale)
    canvas.line(smooth(ridge), 0.05 * scale, (1, 1, 1), 0.12, ('nose',))
    dark = mix(scene.skin, (0.12, 0.03, 0.02), 0.75)
    for middle in (base[1], base[3]):
        nostril = ellipse(middle - 0.045 * scale * DOWN, (0.065 * scale, 0.03 * scale))
        canvas.fill(nostril, dark, None, 0.9, ('nose',), soft=0.015 * scale)
    for half in halves:  # the wings
        canvas.line(smooth(half[7:11])[:-3], 0.022 * scale, dark, 0.3, SKIN_PARTS)


def _mouth(canvas: Canvas, head: Head, points: np.ndarray) -> None:
    scene, scale = head.scene, head.scene.scale
    lips = scene.make_up or mix(scene.skin, (0.65, 0.2, 0.22), 0.5)
    outer_upper, outer_lower = smooth(points[:7]), smooth(points[[6, 7, 8, 9, 10, 11, 0]])
    inner_upper, inner_lower = smooth(points[12:17]), smooth(points[[16, 17, 18, 19, 12]])[::-1]
    if scene.mouth_opening > 0.02:
        inside = np.concatenate([inner_upper, inner_lower[::-1]])
        canvas.fill(inside, (0.22, 0.05, 0.06), 'mouth')
        teeth = np.concatenate([inner_upper, (inner_upper + 0.45 * (inner_lower - inner_upper))[::-1]])
        canvas.fill(teeth, (0.93, 0.91, 0.86), None, 1, ('mouth',))
        tongue = points[18] * 0.8 + points[14] * 0.2
        size = np.linalg.norm(points[18] - points[14])
        canvas.fill(ellipse(tongue, (0.2 * scale, 0.3 * size)), (0.72, 0.32, 0.33), None, 0.9, ('mouth',), 0.03 * scale)
    else:
        inner_upper = inner_lower
    canvas.fill(np.concatenate([outer_upper, inner_upper[::-1]]), mix(lips, (0, 0, 0), 0.15), 'u_lip')
    canvas.fill(np.concatenate([inner_lower, outer_lower]), lips, 'l_lip')
    shine = ellipse((points[9] + points[18]) / 2, (0.16 * scale, 0.03 * scale))
    canvas.fill(shine, (1, 1, 1), None, 0.35, ('l_lip',), soft=0.04 * scale)
    canvas.line(inner_lower, 0.018 * scale, mix(lips, (0, 0, 0), 0.6), 0.8, ('u_lip', 'l_lip'))


def _eye(canvas: Canvas, head: Head, side: int, outline: np.ndarray, pupil: np.ndarray) -> None:
    scene, scale = head.scene, head.scene.scale
    name = ('l_eye' if side == 1 else 'r_eye',)
    closed = smooth(outline, closed=True)
    if scene.make_up:
        shadow = outline.mean(axis=0) + (closed - outline.mean(axis=0)) * 1.5 - 0.07 * scale * DOWN
        canvas.fill(shadow, mix(scene.make_up, (0.3, 0.2, 0.4), 0.6), None, 0.6, ('skin',), soft=0.06 * scale)
    canvas.fill(closed, (0.93, 0.92, 0.90), name[0], within=('skin',))
    iris = 0.115 * scale * scene.eye_size
    canvas.fill(ellipse(pupil, (iris, iris)), mix(scene.iris, (0, 0, 0), 0.5), None, 1, name)
    canvas.fill(ellipse(pupil, (0.8 * iris, 0.8 * iris)), scene.iris, None, 1, name)
    canvas.fill(ellipse(pupil, (0.42 * iris, 0.42 * iris)), (0.02, 0.02, 0.03), None, 1, name)
    glint = pupil + 0.35 * iris * np.array([np.sign(scene.light[0]), -1])
    canvas.fill(ellipse(glint, (0.2 * iris, 0.2 * iris)), (1, 1, 1), None, 0.9, name)
    upper = smooth(outline[:5])
    canvas.fill(np.concatenate([upper, (upper + 0.05 * scale * DOWN)[::-1]]), (0, 0, 0), None, 0.25, name)
    lash = (0.06, 0.03, 0.03) if scene.make_up else mix(scene.skin, (0.08, 0.03, 0.02), 0.85)
    eye_and_lid = (*name, 'skin')
    canvas.line(upper, (0.045 if scene.make_up else 0.028) * scale, lash, 0.9, eye_and_lid)
    canvas.line(smooth(outline[[4, 5, 6, 7, 0]]), 0.012 * scale, lash, 0.45, eye_and_lid)
    crease = upper - 0.065 * scale * DOWN
    canvas.line(crease[4:-3], 0.015 * scale, mix(scene.skin, (0.2, 0.05, 0.03), 0.6), 0.5, ('skin',))


def _brow(canvas: Canvas, head: Head, side: int, outline: np.ndarray) -> None:
    scene = head.scene
    grey = min(scene.hair) > 0.55
    colour = mix(scene.hair, (0.35, 0.3, 0.27) if grey else (0.05, 0.03, 0.02), 0.4)
    curve = np.concatenate([smooth(outline[:5]), smooth(outline[[5, 6, 7, 8, 0]])[:-1]])
    name = 'l_brow' if side == 1 else 'r_brow'
    canvas.fill(curve, mix(scene.skin, colour, 0.75), name, within=('skin',))
    canvas.fill(curve, colour, None, 0.7, (name,), soft=0.03 * scene.scale)
