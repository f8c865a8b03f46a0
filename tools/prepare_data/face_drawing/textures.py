"""Noise, cloth, hair and backgrounds as pictures."""

import cv2
import numpy as np


def noise(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise in [0, 1] of cells x cells values, shape (side, side)."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def cloth(kind: str, colour, other, side: int, period: float) -> np.ndarray:
    """Plain, stripes or checks, shape (side, side, 3); ``period`` in sides of the picture."""
    second = np.arange(side, dtype=np.float32) / side / period % 1 < 0.5
    amounts = {'plain': np.zeros((1, 1), bool), 'stripes': second[:, None], 'checks': second[:, None] ^ second}
    return np.where(np.broadcast_to(amounts[kind], (side, side))[..., None], other, colour)


def background(kind: str, colours: tuple, side: int, rng: np.random.Generator) -> np.ndarray:
    """Plain, gradient, out-of-focus blobs or out-of-focus stripes, shape (side, side, 3)."""
    small = max(side // 4, 32)
    angle = rng.uniform(0, np.pi)
    place = np.linspace(0, 1, small, dtype=np.float32)
    slope = np.cos(angle) * place[:, None] + np.sin(angle) * place
    amount = {
        'plain': lambda: 0.25 * noise(rng, small, 4),
        'gradient': lambda: (slope - slope.min()) / np.ptp(slope),
        'blobs': lambda: noise(rng, small, 9) ** 2,
        'stripes': lambda: 0.5 + 0.5 * np.tanh(3 * np.sin(slope * rng.uniform(15, 60))),
    }[kind]()
    return cv2.resize(_blend(amount, *colours), (side, side), interpolation=cv2.INTER_CUBIC)


def hair(colour, rng: np.random.Generator, side: int, crown: np.ndarray, curly: bool) -> np.ndarray:
    """Strands that run down and away from the crown, or curls; shape (side, side, 3)."""
    if curly:
        light = noise(rng, side, 40) * 0.7 + noise(rng, side, 12) * 0.3
    else:
        small = side // 2
        y, x = np.mgrid[0:small, 0:small].astype(np.float32) / small
        angle = np.arctan2(x - crown[0], y - crown[1] + 0.25)
        strands = cv2.GaussianBlur(rng.random((1, 1024), dtype=np.float32), (0, 0), 1.2)
        strands = (strands - strands.min()) / np.ptp(strands)
        wave = 0.015 * np.sin(y * 25 + rng.uniform(0, 6))
        light = strands[0, ((angle + wave) * 160).astype(int) % 1024] * 0.8 + noise(rng, small, 6) * 0.2
        light = cv2.resize(light, (side, side), interpolation=cv2.INTER_LINEAR)
    return _blend(light, 0.6 * np.asarray(colour), 1.35 * np.asarray(colour) + 0.03)


def _blend(amount: np.ndarray, colour, other) -> np.ndarray:
    """The other colour by ``amount`` in the first one, pixel by pixel."""
    colour, other = np.asarray(colour, np.float32), np.asarray(other, np.float32)
    return colour + amount[..., None].astype(np.float32) * (other - colour)
