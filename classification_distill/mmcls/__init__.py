"""What RepFusion adds to MMPretrain; importing it registers every part.

``mmcls`` is the name of the published code's package; MMClassification itself is MMPretrain today.
"""

from . import engine, models  # noqa: F401
