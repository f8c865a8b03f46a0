"""Work on many items in several processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from common import progress_bar


def parallel_map(function: Callable, items: Sequence, description: str, chunk: int = 8) -> list:
    """``[function(item) for item in items]`` on all cores, with a progress bar.

    The processes are spawned: forked ones hang in OpenCV once it has run threads in their parent.
    """
    if not items:
        return []
    with ProcessPoolExecutor(mp_context=get_context('spawn')) as executor:
        results = executor.map(function, items, chunksize=chunk)
        return list(progress_bar(results, description, len(items)))
