"""The bar of work that takes its time."""

import sys

from tqdm import tqdm

PIPE_INTERVAL = 30  # seconds between two lines where nobody sees one move

LINE = '{l_bar} {n_fmt} of {total_fmt}, {remaining} left'


class ProgressBar(tqdm):
    """tqdm's bar at a terminal; in a pipe, a line every ``PIPE_INTERVAL`` seconds and, after those, at the end.

    Args:
        args, options: tqdm's.

    Examples:
        >>> for name in ProgressBar(['a.jpg', 'b.jpg'], 'reading', unit='image'):
        ...     pass
    """

    def __init__(self, *args, **options):
        self._is_piped = not sys.stderr.isatty()
        if self._is_piped:
            # With a delay there is no line at the start.
            options |= {'mininterval': PIPE_INTERVAL, 'delay': PIPE_INTERVAL, 'bar_format': LINE}
        super().__init__(*args, **options)

    def status_printer(self, file):
        if not self._is_piped:
            return super().status_printer(file)
        return lambda text: print(text, file=file, flush=True) if text else None

    def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
        super().set_description(desc, refresh=refresh and not self._is_piped)

    def close(self) -> None:
        if self._is_piped and not self.disable:
            if self.last_print_t > self.start_t:
                self.refresh()
            self.leave = False
        super().close()
