"""A process for each measurement, so that none finds the memory, the caches or the GPU of the one before."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def in_own_process(function: Callable, *args):
    """What ``function(*args)`` returns in a process of its own.

    It has the libraries already, from a process that imports them once and touches no GPU; it may start data workers.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['mmcls.benchmark'])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()
