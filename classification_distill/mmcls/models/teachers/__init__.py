from .base import BaseTeacher
from .diffusers_teacher import DiffusersTeacher

__all__ = ['BaseTeacher', 'DiffusersTeacher']
