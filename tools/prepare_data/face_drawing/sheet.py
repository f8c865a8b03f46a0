"""A picture of faces beside their label maps and points."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .portrait import Portrait

COLUMNS, TILE = 4, 192
PALETTE = np.array(
    [
        *[(0, 0, 0), (204, 0, 0), (76, 153, 0), (204, 204, 0), (51, 51, 255), (204, 0, 204), (0, 255, 255)],
        *[(255, 204, 204), (102, 51, 0), (255, 0, 0), (102, 204, 0), (255, 255, 0), (0, 0, 153), (0, 0, 204)],
        *[(255, 51, 153), (0, 204, 204), (0, 51, 0), (255, 153, 51), (0, 204, 0)],
    ],
    np.uint8,
)  # CelebAMask-HQ's own colours
POINT_COLOURS = {33: 'lime', 51: 'yellow', 60: 'cyan', 76: 'magenta', 96: 'white', 98: 'red'}  # up to each index


def contact_sheet(portraits: Sequence[Portrait]) -> Image.Image:
    """Each face twice: half covered by the colours of its label map, and with its points."""
    rows = -(-len(portraits) // COLUMNS)
    sheet = Image.new('RGB', (2 * TILE * COLUMNS, TILE * rows))
    for k, portrait in enumerate(portraits):
        x, y = 2 * TILE * (k % COLUMNS), TILE * (k // COLUMNS)
        sheet.paste(_with_parts(portrait), (x, y))
        sheet.paste(_with_points(portrait), (x + TILE, y))
    return sheet


def _with_parts(portrait: Portrait) -> Image.Image:
    colours = Image.fromarray(PALETTE[portrait.labels]).resize((TILE, TILE), Image.Resampling.NEAREST)
    return Image.blend(Image.fromarray(portrait.image).resize((TILE, TILE)), colours, 0.5)


def _with_points(portrait: Portrait) -> Image.Image:
    tile = Image.fromarray(portrait.image).resize((TILE, TILE))
    draw = ImageDraw.Draw(tile)
    for k, (x, y) in enumerate((portrait.points + 0.5) * TILE / len(portrait.image)):
        colour = next(colour for end, colour in POINT_COLOURS.items() if k < end)
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
    return tile
