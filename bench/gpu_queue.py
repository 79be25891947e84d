"""The work queue of one GPU, through torch or through CuPy: what a stopwatch needs of it."""

from __future__ import annotations

import time
from typing import Any, Protocol

MEGABYTE = 1 << 20
# Faster than any clock: a wait is rather too long.
CYCLES_PER_SECOND = 2.5e9


class Queue(Protocol):
    """Work is put in from the host, and done in order."""

    def wait(self, seconds: float) -> None:
        """Put in a kernel that keeps the device busy for about as long."""

    def flush(self) -> None:
        """Put in a kernel that leaves nothing of earlier work in the caches."""

    def mark(self) -> Any:
        """Put in an event."""

    def is_past(self, mark: Any) -> bool:
        """Whether the device has come to an event."""

    def microseconds(self, first: Any, last: Any) -> float:
        """Between two events; waits for the second."""


class TorchQueue:
    """The current stream of torch on ``device``."""

    def __init__(self, device: Any) -> None:
        import torch

        self._cuda = torch.cuda
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        self._other = torch.empty(max(512 * MEGABYTE, 4 * cache), dtype=torch.uint8, device=device)

    def wait(self, seconds: float) -> None:
        self._cuda._sleep(int(seconds * CYCLES_PER_SECOND))

    def flush(self) -> None:
        self._other.zero_()

    def mark(self) -> Any:
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def is_past(self, mark: Any) -> bool:
        return bool(mark.query())

    def microseconds(self, first: Any, last: Any) -> float:
        last.synchronize()
        return 1e3 * float(first.elapsed_time(last))


class CupyQueue:
    """The current stream of CuPy on its current device."""

    _WAIT = """extern "C" __global__ void wait(long long cycles) {
    long long start = clock64();
    while (clock64() - start < cycles) {}
}"""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self._kernel = cupy.RawKernel(self._WAIT, "wait")
        self._other = cupy.empty(512 * MEGABYTE, "uint8")

    def wait(self, seconds: float) -> None:
        self._kernel((1,), (1,), (self._cupy.int64(seconds * CYCLES_PER_SECOND),))

    def flush(self) -> None:
        self._other.fill(0)

    def mark(self) -> Any:
        event = self._cupy.cuda.Event()
        event.record()
        return event

    def is_past(self, mark: Any) -> bool:
        return bool(mark.done)

    def microseconds(self, first: Any, last: Any) -> float:
        last.synchronize()
        return 1e3 * float(self._cupy.cuda.get_elapsed_time(first, last))


class HostQueue:
    """No queue: work on the CPU is done when the call comes back."""

    def wait(self, seconds: float) -> None:
        pass

    def flush(self) -> None:
        pass

    def mark(self) -> float:
        return time.perf_counter()

    def is_past(self, mark: float) -> bool:
        return False

    def microseconds(self, first: float, last: float) -> float:
        return 1e6 * (last - first)
