"""The 98 points of WFLW on the face, and the outlines of its features through them.

Points: 0-32 contour, 33-41 and 42-50 brows, 51-54 ridge of the nose, 55-59 its base, 60-67 and 68-75 eyes, 76-87 outer
and 88-95 inner edge of the lips, 96 and 97 pupils; from the left of the picture to its right. Wu et al., "Look at
Boundary", CVPR 2018.
"""

import numpy as np

from .head import Head

MIRRORED = np.array(
    [
        *range(32, -1, -1),  # contour
        *(46, 45, 44, 43, 42, 50, 49, 48, 47, 37, 36, 35, 34, 33, 41, 40, 39, 38),  # brows
        *(51, 52, 53, 54, 59, 58, 57, 56, 55),  # nose
        *(72, 71, 70, 69, 68, 75, 74, 73, 64, 63, 62, 61, 60, 67, 66, 65),  # eyes
        *(82, 81, 80, 79, 78, 77, 76, 87, 86, 85, 84, 83, 92, 91, 90, 89, 88, 95, 94, 93),  # lips
        *(97, 96),  # pupils
    ]
)
"""Index of the point that each of the 98 becomes when the picture is flipped."""


def points_3d(head: Head) -> np.ndarray:
    """The 98 points on the head, shape (98, 3)."""
    points = np.zeros((98, 3))
    heights = head.contour_heights
    points[:17] = head.outline(heights, -1)
    points[16:33] = head.outline(heights, 1)[::-1]
    flat = np.zeros((98, 3))  # x, y and height above the surface of the face
    for side, opening in zip((-1, 1), head.scene.eye_opening, strict=True):
        for start, values in ((33, _brow(head)), (60, _eye(head, opening))):
            index = np.arange(start, start + len(values))
            index = index if side == -1 else MIRRORED[index]
            flat[index] = values * [side, 1, 1]
        flat[96 if side == -1 else 97] = _pupil(head, side, opening)
    flat[51:60] = _nose(head)
    flat[76:96] = _mouth(head)
    points[33:] = head.on_surface(flat[33:])
    for side in (-1, 1):  # annotators put what is turned away on the edge of the face
        edge = head.outline(points[:, 1], side)
        hidden = (side * points[:, 0] > side * edge[:, 0]) & (np.arange(98) >= 33)
        points[hidden] = edge[hidden]
    return points


def _eye(head: Head, opening: float) -> np.ndarray:
    """Outline of the eye at positive x: outer corner, upper lid, inner corner, lower lid."""
    scene = head.scene
    angle = np.radians([0, 45, 90, 135, 180, 225, 270, 315])
    x = np.cos(angle) * 0.21 * scene.eye_size
    height = np.where(np.sin(angle) > 0, 0.125 * opening, 0.075 * opening**0.5) * scene.eye_size
    y = -np.sin(angle) * height - 0.03 * np.cos(angle)
    return np.stack([scene.eye_distance + x, y, np.full(8, 0.02)], axis=1)


def _pupil(head: Head, side: int, opening: float) -> np.ndarray:
    scene = head.scene
    across, down = 0.06 * scene.gaze[0], 0.025 * scene.gaze[1] * min(opening, 1)
    lids = (0.075 * opening**0.5 - 0.125 * opening) / 2 * scene.eye_size  # half way between them
    return np.array([side * scene.eye_distance + across, lids + down, 0.02])


def _brow(head: Head) -> np.ndarray:
    """Outline of the brow at positive x: outer tip, upper edge inwards, lower edge outwards."""
    scene = head.scene
    x = np.array([0.85, 0.68, 0.5, 0.34, 0.2, 0.2, 0.34, 0.5, 0.68]) + scene.eye_distance - 0.5
    arch = np.array([0.06, -0.06, -0.1, -0.07, -0.03, -0.03, -0.07, -0.1, -0.06])
    thickness = 0.05 * scene.brow_thickness * np.array([0, -0.8, -1, -1.1, -1.1, 1.1, 1.1, 1, 0.8])
    inner = (0.85 - x) / 0.65
    y = -0.3 + arch + thickness - 0.16 * scene.brow_raise + 0.14 * scene.brow_frown * (inner - 0.3)
    return np.stack([x, y, np.full(9, 0.03)], axis=1)


def _nose(head: Head) -> np.ndarray:
    """Ridge from between the eyes to the tip, then the base from left to right."""
    size = head.scene.nose_size
    ridge = [(0, 0.0, 0.06), (0, 0.19, 0.14), (0, 0.38, 0.24), (0, 0.56, 0.33)]
    base = [(-0.2, 0.67, 0.08), (-0.1, 0.72, 0.14), (0, 0.75, 0.19), (0.1, 0.72, 0.14), (0.2, 0.67, 0.08)]
    return np.array(ridge + base) * size


def nose_halves(head: Head) -> list[np.ndarray]:
    """Left and right half of the nose in 3-D, each a closed outline."""
    size = head.scene.nose_size
    flat = _nose(head)
    edge = np.array([(0.13, -0.06, 0.0), (0.11, 0.15, 0.03), (0.16, 0.4, 0.04), (0.26, 0.55, 0.04), (0.27, 0.64, 0.04)])
    edge = edge * size
    halves = []
    for side, base in ((-1, flat[6:3:-1]), (1, flat[6:])):
        outer = edge[::-1] * [side, 1, 1]
        top = [[0, -0.08 * size, 0.03]]
        halves.append(head.on_surface(np.concatenate([top, flat[:4], base, outer])))
    return halves


def _mouth(head: Head) -> np.ndarray:
    """Outer edge of the lips (12 points), then the inner one (8), each clockwise from the left corner."""
    scene = head.scene
    opening, full = scene.mouth_opening, scene.lip_fullness
    width = scene.mouth_width * (1 + 0.2 * scene.smile - 0.35 * opening)
    middle = 0.62 * scene.chin + 0.03
    upper = np.array([(-1, 0), (-0.6, -0.075), (-0.2, -0.125), (0, -0.1), (0.2, -0.125), (0.6, -0.075), (1, 0)])
    lower = np.array([(0.62, 0.1), (0.27, 0.15), (0, 0.16), (-0.27, 0.15), (-0.62, 0.1)])
    inner = np.array([(-0.86, 0), (-0.4, -0.012), (0, -0.005), (0.4, -0.012), (0.86, 0), (0.4, 0.012), (0, 0.015)])
    inner = np.concatenate([inner, [(-0.4, 0.012)]])
    drop = np.concatenate([np.zeros(7), [0.75, 0.97, 1, 0.97, 0.75], [0, 0, 0, 0, 0, 0.85, 1, 0.85]])
    lift = np.concatenate([[0, 0.1, 0.16, 0.16, 0.16, 0.1, 0], np.zeros(5), [0, 0.12, 0.16, 0.12, 0, 0, 0, 0]])
    points = np.concatenate([upper, lower, inner]) * [1, full]
    curve = points[:, 0] ** 2 - 0.35
    y = middle + points[:, 1] + opening * (drop - lift + 0.15 * points[:, 0] ** 2)
    y = y - 0.12 * scene.smile * curve
    bulge = 0.08 * (1 - points[:, 0] ** 2)
    return np.stack([points[:, 0] * width, y, bulge], axis=1)
