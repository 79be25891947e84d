"""One pool of threads for the tile loops.

NumPy and BLAS release the GIL, so plain threads run tiles in parallel. BLAS is held to one thread meanwhile:
two levels of threads would fight for the same cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")


@cache
def num_threads() -> int:
    """Threads for the tile loops: ``PN_GPU_NUM_THREADS``, else the CPUs this process may use.

    Raises
    ------
    ValueError
        If the variable is set to anything but a whole number of at least 1.
    """
    setting = os.environ.get("PN_GPU_NUM_THREADS")
    if setting is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not setting.isdecimal() or int(setting) < 1:
        raise ValueError(f"PN_GPU_NUM_THREADS: got {setting!r}, want a whole number of at least 1")
    return int(setting)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads(), thread_name_prefix="pn_gpu")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def parallel_map(function: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
    """``[function(task) for task in tasks]`` over the threads; a single task runs where it is."""
    if len(tasks) == 1 or num_threads() == 1:
        return [function(task) for task in tasks]
    with _blas().limit(limits=1):
        return list(_pool().map(function, tasks))


def _forget_threads() -> None:
    """A forked child has none of its parent's threads: let it start its own."""
    _pool.cache_clear()
    _blas.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
