"""matplotlib figures as SVG that takes the page's text colour, so that it is readable in dark mode too."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

INK = '#010203'  # stands for the text colour until the SVG is written
SETTINGS = {
    'svg.fonttype': 'none',
    'font.size': 10,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.alpha': 0.2,
    'grid.linewidth': 0.6,
    'axes.formatter.useoffset': False,
    **dict.fromkeys(
        ('text.color', 'axes.edgecolor', 'axes.labelcolor', 'xtick.color', 'ytick.color', 'grid.color'), INK
    ),
}
COLORS = (*mpl.color_sequences['tab10'], *mpl.color_sequences['Dark2'])
STYLES = ('-', '--', ':')


class Picture:
    """A figure of one panel.

    Attributes:
        axes: The panel.
        svg: The figure, once it is drawn.
    """

    def __init__(self, name: str, width: float = 4.2, height: float = 2.7):
        self.name = name
        self.figure = Figure(figsize=(width, height), layout='constrained')
        self.figure.patch.set_alpha(0)
        self.axes: Axes = self.figure.subplots()
        self.axes.patch.set_alpha(0)
        self.svg = Markup()

    def draw_bar(self, image: AxesImage, label: str) -> None:
        """Say what the colours of a heat map mean."""
        self.axes.grid(False)
        self.figure.colorbar(image, ax=self.axes, label=label)

    def finish(self, description: str) -> None:
        FigureCanvasSVG(self.figure)
        stream = io.StringIO()
        self.figure.savefig(stream, format='svg', metadata={'Date': None, 'Creator': None})
        text = stream.getvalue()
        text = text[text.index('<svg') :].replace(INK, 'currentColor')
        # A page must not have an id twice.
        text = re.sub(r'\bid="|href="#|url\(#', rf'\g<0>{self.name}-', text)
        head = f'<svg role="img" aria-label="{Markup.escape(description)}"'
        self.svg = Markup(text.replace('<svg', head, 1))


@contextmanager
def picture(name: str, description: str, **size: float) -> Iterator[Picture]:
    """A picture to draw on; its SVG is there afterwards.

    Args:
        name: Differs from all others of the page.
        description: For those who do not see it.
        size: Width and height in inches.
    """
    with mpl.rc_context(SETTINGS):
        drawn = Picture(name, **size)
        yield drawn
        drawn.finish(description)
