"""Times by CUDA events with a cold L2 cache, and peak memory; on a CPU by the clock, for trying out the rest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

MEGABYTE = 1 << 20
FEWEST_ROUNDS, MOST_ROUNDS = 5, 50


class Times(NamedTuple):
    """Microseconds of one call: the median, and the tenth and ninetieth percentile."""

    median: float
    low: float
    high: float
    rounds: int


class Stopwatch:
    """Times calls on one device.

    On a GPU a buffer of several times the L2 cache is overwritten before each call, so that nothing of the last one
    is found there; the GPU is busy with it while Python prepares the call, so launch times do not count either.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.on_gpu = device.type == "cuda"
        if self.on_gpu:
            cache = torch.cuda.get_device_properties(device).L2_cache_size
            self._flush = torch.empty(max(512 * MEGABYTE, 4 * cache), dtype=torch.uint8, device=device)

    def start(self, call: Callable[[], object]) -> Callable[[], float]:
        """Enqueue one call; what is returned waits for it and gives its microseconds."""
        if not self.on_gpu:
            begin = time.perf_counter()
            call()
            elapsed = 1e6 * (time.perf_counter() - begin)
            return lambda: elapsed
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._flush.zero_()
        first.record()
        call()
        last.record()

        def wait() -> float:
            last.synchronize()
            return 1e3 * first.elapsed_time(last)

        return wait

    def once(self, call: Callable[[], object]) -> float:
        return self.start(call)()


def interleaved(stopwatch: Stopwatch, calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, Times]:
    """Times of calls measured in turns, about ``seconds`` each; every call is made twice before, to warm up."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    rounds = {}
    for name, call in calls.items():
        stopwatch.once(call)
        each = max(stopwatch.once(call), 1.0)
        rounds[name] = int(min(max(1e6 * seconds / each, FEWEST_ROUNDS), MOST_ROUNDS))
    for index in range(max(rounds.values(), default=0)):
        for name, call in calls.items():
            if index < rounds[name]:
                samples[name].append(stopwatch.once(call))
    return {name: _times(values) for name, values in samples.items()}


def _times(values: list[float]) -> Times:
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return Times(statistics.median(values), deciles[0], deciles[-1], len(values))


def peak_memory(device: torch.device, call: Callable[[], object]) -> int | None:
    """Most bytes allocated on a GPU while ``call`` ran, above what was before; None on a CPU."""
    if device.type != "cuda":
        call()
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
