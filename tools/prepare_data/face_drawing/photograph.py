"""Light, focus and noise of a photograph."""

import cv2
import numpy as np
from part_masks import CLASSES

from .head import Head

LIT = [CLASSES.index(name) for name in CLASSES if name not in ('background', 'eye_g')]


def light(image: np.ndarray, labels: np.ndarray, head: Head) -> np.ndarray:
    """Light the head as a ball and the rest evenly.

    Args:
        image: Shape (side, side, 3), in [0, 1].
        labels: Class of each pixel, shape (side, side).
        head: Head and its scene.
    """
    scene, side = head.scene, len(image)
    small = max(side // 8, 16)
    y, x = (np.mgrid[0:small, 0:small].astype(np.float32) + 0.5) / small
    middle = head.project(np.array([[0, 0.1, 0.2]]))[0]
    across, down = (x - middle[0]) / (1.25 * scene.scale), (y - middle[1]) / (1.9 * scene.scale)
    away = np.hypot(across, down).clip(1e-6)
    steep = np.minimum(away, 1) / away
    facing = (across * scene.light[0] + down * scene.light[1]) * steep
    ball = 1 + scene.light_contrast * (0.75 * facing - 0.28 * np.minimum(away, 1) ** 2)
    ball = cv2.resize(ball, (side, side), interpolation=cv2.INTER_LINEAR)
    shade = np.where(np.isin(labels, LIT), ball, 1)[..., None]
    return image * shade.clip(0.06, 2) * (scene.exposure * np.array(scene.colour_cast, np.float32))


def expose(image: np.ndarray, head: Head, rng: np.random.Generator) -> np.ndarray:
    """Blur, add noise and round to bytes, shape (size, size, 3)."""
    sigma = head.scene.blur * len(image) / 1000
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    grain = rng.standard_normal(image.shape, dtype=np.float32) * head.scene.noise
    return np.rint((image + grain).clip(0, 1) * 255).astype(np.uint8)
