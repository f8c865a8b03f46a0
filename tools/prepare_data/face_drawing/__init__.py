"""Faces drawn from a description, with the exact place of each part and point."""

from .portrait import Portrait, draw_face, project_points
from .scene import Scene, sample_scene
from .sheet import contact_sheet

__all__ = ['Portrait', 'Scene', 'contact_sheet', 'draw_face', 'project_points', 'sample_scene']
