"""One pool of threads for the tile loops.

NumPy and BLAS release the GIL, so plain threads run tiles in parallel. BLAS is held to one thread meanwhile:
two levels of threads would fight for the same cores.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import numpy as np
from threadpoolctl import LibController, ThreadpoolController

from pn_gpu.kernels.host.slices import tile_slices

Task = TypeVar("Task")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

_own = threading.local()

# Multiply-adds below which a call stays on its own thread: handing work to the pool takes about 0.1 ms.
SERIAL_WORK = 2**25

# Multiply-adds below which OpenBLAS stays on one thread by itself; setting its threads takes about 10 us.
BLAS_SERIAL_WORK = 2**18

# Groups of tiles for each thread: more of them even out the load, and every group has its own column sums.
GROUPS_PER_THREAD = 4


def num_threads() -> int:
    """Threads for the tile loops: ``PN_GPU_NUM_THREADS`` (unless empty), else the CPUs this process may use.

    Less within `at_most`.

    Raises
    ------
    ValueError
        If the variable is set to anything but a whole number of at least 1.
    """
    limit = getattr(_own, "limit", None)
    return most_threads() if limit is None else min(limit, most_threads())


@cache
def most_threads() -> int:
    """Threads of the pool and the caller's; raises what `num_threads` raises."""
    setting = os.environ.get("PN_GPU_NUM_THREADS", "")
    if not setting:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not setting.isdecimal() or int(setting) < 1:
        raise ValueError(f"PN_GPU_NUM_THREADS: got {setting!r}, want a whole number of at least 1")
    return int(setting)


class at_most:
    """Calls from this thread within the block take no more threads: ``with at_most(count): ...``."""

    __slots__ = ("_before", "_count")

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._before = getattr(_own, "limit", None)
        _own.limit = self._count

    def __exit__(self, *error: object) -> None:
        _own.limit = self._before


def share_out(length: int, tile: int, work: int) -> list[list[slice]]:
    """Groups of neighbouring tiles that cover ``range(length)``, to be given to `parallel_map`.

    Parameters
    ----------
    length, tile : int
        What to cut, and the largest tile.
    work : int
        Multiply-adds of the whole; below `SERIAL_WORK` there is but one group.
    """
    step, size = _steps(length, tile, work)
    tiles = tile_slices(length, step)
    return [tiles[start : start + size] for start in range(0, len(tiles), size)]


def share_sizes(length: int, tile: int, work: int) -> tuple[int, int]:
    """The length of the largest tile of `share_out`, and the number of its groups, for any length."""
    step, size = _steps(length, tile, work)
    return min(step, length), -(-length // (step * size))


def _steps(length: int, tile: int, work: int) -> tuple[int, int]:
    """Rows in a tile, all but the last of one length, and tiles in a group."""
    threads = num_threads() if work >= SERIAL_WORK else 1
    step = max(1, -(-length // max(-(-length // tile), threads)))
    count = -(-length // step)
    return step, max(1, -(-count // (threads * GROUPS_PER_THREAD if threads > 1 else 1)))


def parallel_map(
    function: Callable[[Task], Result], tasks: Sequence[Task], work: int, spare_blas: bool = True
) -> list[Result]:
    """``[function(task) for task in tasks]`` over the threads, the caller's among them; BLAS is held to one.

    ``work`` is that of `share_out`. Where it is too little for BLAS to start threads BLAS is left alone, and with
    ``spare_blas`` where there is but one task.

    The tasks run with NumPy's floating-point warnings off: where a weight underflows that is no news, and NaN and inf
    in the input show in the result.
    """
    leave_blas = work < BLAS_SERIAL_WORK or (spare_blas and len(tasks) < 2)
    if leave_blas and len(tasks) < 2:
        with np.errstate(all="ignore"):
            return [function(task) for task in tasks]
    results: dict[int, Result] = {}
    pending = deque(enumerate(tasks))

    def work_off() -> None:
        with np.errstate(all="ignore"):
            while pending:
                try:
                    position, task = pending.popleft()
                except IndexError:  # another thread was quicker
                    return
                results[position] = function(task)

    with nullcontext() if leave_blas else one_blas_thread():
        helpers = _start(work_off, min(num_threads(), len(tasks)) - 1)
        try:
            work_off()
        finally:
            pending.clear()
            for helper in helpers:
                if not helper.cancel():  # one that has not begun need not: on a busy machine it may take long to
                    helper.result()
    return [results[position] for position in range(len(tasks))]


def _start(function: Callable[[], None], count: int) -> list[Future[None]]:
    """The function on so many threads of the pool; none once the interpreter ends, which refuses new work."""
    try:
        return [_pool().submit(function) for _ in range(count)]
    except RuntimeError:
        if threading.main_thread().is_alive():
            raise
        return []


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(most_threads() - 1, thread_name_prefix="pn_gpu", initializer=_limit_openmp)


def _limit_openmp() -> None:
    """Where BLAS runs on OpenMP its number of threads is each calling thread's own."""
    for library in _blas_libraries():
        if getattr(library, "threading_layer", None) == "openmp":
            library.set_num_threads(1)


class _BlasThreads:
    """Holds BLAS to one thread while at least one caller is inside `single_threaded`.

    The libraries are set directly: ``ThreadpoolController.limit`` asks each for its full description at every call,
    and calls of it from several threads that overlap may restore one another's limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved: list[tuple[LibController, int]] = []

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._saved = [(library, library.get_num_threads()) for library in _blas_libraries()]
                for library, _ in self._saved:
                    _set_num_threads(library, 1)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self.restore()

    def restore(self) -> None:
        for library, count in self._saved:
            _set_num_threads(library, count)
        self._saved = []


def _set_num_threads(library: LibController, count: int) -> None:
    # threadpoolctl 3.7 heeds only the thread that set a limit first, until that is forgotten.
    forget = getattr(library, "clear_controlling_thread", None)
    if forget is not None:
        forget(force=True)
    library.set_num_threads(count)
    if forget is not None:
        forget(force=True)


@cache
def _blas_libraries() -> list[LibController]:
    return ThreadpoolController().select(user_api="blas").lib_controllers


_blas = _BlasThreads()


def one_blas_thread() -> AbstractContextManager[None]:
    """Holds BLAS to the calling thread: several would wait for each other by spinning, and on a busy machine lose
    their share of it at every small product."""
    return _blas.single_threaded()


def on_one_blas_thread(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function within `one_blas_thread`."""

    @wraps(function)
    def held(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with one_blas_thread():
            return function(*args, **kwargs)

    return held


def _start_afresh_in_child() -> None:
    """A forked child has none of its parent's threads: let it start its own, with BLAS as its parent found it."""
    global _blas
    _pool.cache_clear()
    _blas.restore()
    _blas = _BlasThreads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)
