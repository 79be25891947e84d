"""Times of calls on a GPU: on the device, with nothing of the launches in them, and on the host, launches alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.gpu_queue import MEGABYTE, HostQueue, Queue, TorchQueue

__all__ = ["MEGABYTE", "Stopwatch", "Times", "interleaved", "peak_memory"]

FEWEST_ROUNDS, MOST_ROUNDS = 5, 50
# The device is kept busy so long before a call, at first and at most, in seconds.
FIRST_WAIT, LONGEST_WAIT = 0.5e-3, 20e-3


class Measurement(NamedTuple):
    """Microseconds of one call."""

    device: float
    host: float  # until the call came back
    # Whether the call was in the queue whole before the device came to it: if not, the device waited for the host.
    queued: bool


class Times(NamedTuple):
    """Microseconds of a call: median, tenth and ninetieth percentile on the device, median on the host."""

    median: float
    low: float
    high: float
    rounds: int
    host: float
    queued: bool


class Stopwatch:
    """Times calls on one device.

    Before each call the device is given something to do that lasts longer than the host needs to enqueue the call, so
    that no launch is waited for, and the caches are overwritten. Where the device comes to the call early the wait is
    doubled and the call repeated, up to `LONGEST_WAIT`; a call that waits for the device itself stays unqueued.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._wait = FIRST_WAIT

    @classmethod
    def of(cls, device: Any) -> Stopwatch:
        """For a torch device; on the CPU by the clock, for trying out the rest."""
        return cls(TorchQueue(device) if device.type == "cuda" else HostQueue())

    def once(self, call: Callable[[], object]) -> Measurement:
        """One call, repeated until it was queued."""
        while True:
            measurement = self._try(call)
            if measurement.queued or self._wait >= LONGEST_WAIT:
                return measurement
            self._wait = min(max(2 * self._wait, 2e-6 * measurement.host), LONGEST_WAIT)

    def _try(self, call: Callable[[], object]) -> Measurement:
        queue = self._queue
        queue.wait(self._wait)
        queue.flush()
        first = queue.mark()
        begin = time.perf_counter()
        call()
        host = time.perf_counter() - begin
        last = queue.mark()
        queued = not queue.is_past(first)
        return Measurement(queue.microseconds(first, last), 1e6 * host, queued)


def interleaved(stopwatch: Stopwatch, calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, Times]:
    """Times of calls measured in turns, about ``seconds`` each; every call is made twice before, to warm up."""
    samples: dict[str, list[Measurement]] = {name: [] for name in calls}
    rounds = {}
    for name, call in calls.items():
        stopwatch.once(call)
        each = max(stopwatch.once(call).device, 1.0)
        rounds[name] = int(min(max(1e6 * seconds / each, FEWEST_ROUNDS), MOST_ROUNDS))
    for index in range(max(rounds.values(), default=0)):
        for name, call in calls.items():
            if index < rounds[name]:
                samples[name].append(stopwatch.once(call))
    return {name: _times(values) for name, values in samples.items()}


def _times(values: list[Measurement]) -> Times:
    device = [value.device for value in values]
    deciles = statistics.quantiles(device, n=10, method="inclusive")
    host = statistics.median(value.host for value in values)
    queued = all(value.queued for value in values)
    return Times(statistics.median(device), deciles[0], deciles[-1], len(values), host, queued)


def peak_memory(device: Any, call: Callable[[], object]) -> int | None:
    """Most bytes allocated by torch on a GPU while ``call`` ran, above what was before; None on a CPU."""
    if device.type != "cuda":
        call()
        return None
    import torch

    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
