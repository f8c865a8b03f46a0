"""A process for each measurement, so that none finds the memory, the caches or the GPU of the one before."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

START = 'spawn'  # what is forked shares memory with its parent, and cannot use a GPU that the parent knows of


def in_own_process(function: Callable, *args):
    """What ``function(*args)`` returns in a process of its own, which may start others, such as data workers."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(START)) as pool:
        return pool.submit(function, *args).result()
