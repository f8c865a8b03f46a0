"""The head in three dimensions: a surface of half ellipses, turned and projected into the picture.

x goes to the right of the picture, y down and z towards the viewer; the origin lies between the eyes, in the plane
of the ears. The unit is half the width of an average face.
"""

from functools import cached_property

import numpy as np

from .scene import Scene

TEMPLE, CROWN = -0.15, -1.8  # heights where the contour begins, and of the top of the head
SKULL_CENTRE, SKULL_RADII = (0, -0.5, -0.25), (1.07, 1.32, 1.2)
CAMERA_DISTANCE = 9.0


class Head:
    """Surface and pose of the head of a scene.

    Args:
        scene: The description.
        body: How much of the head's turn the body shares, for what is not on the head; 1 is the head itself.
    """

    def __init__(self, scene: Scene, body: float = 1.0) -> None:
        self.scene = scene
        self.chin = scene.chin + 0.45 * scene.mouth_opening
        yaw, pitch, roll = np.radians([scene.yaw * body, scene.pitch * body, scene.roll * body])
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        self.upright, self.tilt = nod @ turn, tilt

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points of the head, shape (n, 3), to places in the picture in sides of it, shape (n, 2)."""
        x, y, z = (points @ (self.tilt @ self.upright).T).T
        nearer = self.scene.scale / (1 - z / CAMERA_DISTANCE)
        return np.stack([x, y], axis=1) * nearer[:, None] + self.scene.centre

    def half_width(self, y: np.ndarray) -> np.ndarray:
        """Half the width of the face at heights y."""
        below = ((y - TEMPLE) / (self.chin - TEMPLE)).clip(0, 1)
        above = ((TEMPLE - y) / (TEMPLE - CROWN)).clip(0, 1)
        return self.scene.width * (1 - below**self.scene.jaw) ** 0.625 * (1 - above**2.4) ** 0.5

    def depths(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """z of the face's edge and of its middle line at heights y."""
        below = ((y - TEMPLE) / (self.chin - TEMPLE)).clip(0, 1)
        above = ((TEMPLE - y) / (TEMPLE - CROWN)).clip(0, 1)
        return 0.85 * below**2, 0.85 * (1 - above**2.5) ** 0.5

    def on_surface(self, points: np.ndarray) -> np.ndarray:
        """Lift points of the face seen from the front, shape (n, 2), or (n, 3) with a height above the surface."""
        x, y = points[:, 0], points[:, 1]
        edge, middle = self.depths(y)
        across = (x / self.half_width(y).clip(1e-6)).clip(-1, 1)
        z = edge + (middle - edge) * np.sqrt(1 - across**2)
        if points.shape[1] == 3:
            z = z + points[:, 2]
        return np.stack([x, y, z], axis=1)

    def outline(self, y: np.ndarray, side: int) -> np.ndarray:
        """Where the face ends at heights y as seen in this pose, in 3-D, shape (n, 3).

        Of each half ellipse the point that is farthest out: its end, or on the averted side where it turns away.

        Args:
            y: Heights, shape (n,).
            side: -1 for the left of the picture, 1 for the right.
        """
        angle = np.linspace(np.pi / 2, 0, 19)[None]
        edge, middle = self.depths(y)
        x = side * self.half_width(y)[:, None] * np.sin(angle)
        z = edge[:, None] + (middle - edge)[:, None] * np.cos(angle)
        points = np.stack([x, np.broadcast_to(y[:, None], x.shape), z], axis=2)
        farthest = (side * (points @ self.upright[0])).argmax(axis=1)
        return points[np.arange(len(y)), farthest]

    @cached_property
    def contour_heights(self) -> np.ndarray:
        """17 heights from the temple to the chin, equally far apart along the contour."""
        y = TEMPLE + (self.chin - TEMPLE) * np.sin(np.linspace(0, np.pi / 2, 400))
        along = np.concatenate([[0], np.hypot(np.diff(y), np.diff(self.half_width(y))).cumsum()])
        return np.interp(np.linspace(0, along[-1], 17), along, y)

    def ellipsoid(self, centre: np.ndarray, radii: np.ndarray, num: int = 60) -> np.ndarray:
        """Outline in the picture of an ellipsoid of the head, shape (num, 2)."""
        turn = (self.tilt @ self.upright)[:2] * radii
        values, vectors = np.linalg.eigh(turn @ turn.T)
        angle = np.linspace(0, 2 * np.pi, num, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ring = circle * np.sqrt(values) @ vectors.T
        return self.project(np.array([centre]))[0] + ring * self.scene.scale
