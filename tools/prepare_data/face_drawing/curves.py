"""Smooth curves through given points."""

import numpy as np

RIGHT, DOWN = np.eye(2)  # of the picture


def smooth(points: np.ndarray, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Catmull-Rom spline.

    Args:
        points: Shape (n, dims); the curve goes through each of them.
        closed: Whether it goes on from the last point to the first.
        steps: Points for each stretch between two given ones.

    Returns:
        Shape (n * steps, dims) where closed, else ((n - 1) * steps + 1, dims).
    """
    if closed:
        p0, p1, p2, p3 = (np.roll(points, shift, axis=0) for shift in (1, 0, -1, -2))
    else:
        ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
        p0, p1, p2, p3 = ends[:-3], ends[1:-2], ends[2:-1], ends[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    bent = 2 * p0 - 5 * p1 + 4 * p2 - p3
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + bent * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    curve = curve.reshape(-1, points.shape[1])
    return curve if closed else np.concatenate([curve, points[-1:]])


def ellipse(centre: tuple[float, float], radii: tuple[float, float], num: int = 40) -> np.ndarray:
    """Outline of an axis-parallel ellipse, shape (num, 2)."""
    angle = np.linspace(0, 2 * np.pi, num, endpoint=False)
    return np.array(centre) + np.array(radii) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
