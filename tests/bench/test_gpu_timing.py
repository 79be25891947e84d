"""The stopwatch on a played device: what it measures has nothing of the host in it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from bench import gpu_timing
from bench.gpu_timing import LONGEST_WAIT, Stopwatch


class PlayedQueue:
    """A host clock, and the time at which a device will be done with all that it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.busy_until = 0.0
        self.waits: list[float] = []
        monkeypatch.setattr(gpu_timing.time, "perf_counter", lambda: self.now)

    def call(self, host: float, device: float, synchronises: bool = False) -> Callable[[], None]:
        def run() -> None:
            self.now += host
            self._work(device)
            if synchronises:
                self.now = max(self.now, self.busy_until)

        return run

    def _work(self, seconds: float) -> None:
        self.busy_until = max(self.busy_until, self.now) + seconds

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._work(seconds)

    def flush(self) -> None:
        self._work(1e-4)

    def mark(self) -> float:
        return max(self.busy_until, self.now)

    def is_past(self, mark: float) -> bool:
        return self.now >= mark

    def microseconds(self, first: float, last: float) -> float:
        self.now = max(self.now, last)
        return 1e6 * (last - first)


@pytest.mark.parametrize("host", [20e-6, 610e-6, 5e-3])
def test_launches_do_not_count(host: float, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = PlayedQueue(monkeypatch)
    measured = Stopwatch(queue).once(queue.call(host=host, device=90e-6))
    assert math.isclose(measured.device, 90)
    assert math.isclose(measured.host, 1e6 * host)
    assert measured.queued


def test_a_call_that_waits_for_the_device_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = PlayedQueue(monkeypatch)
    stopwatch = Stopwatch(queue)
    waiting = queue.call(host=1e-4, device=1e-4, synchronises=True)
    times = gpu_timing.interleaved(stopwatch, {"waits": waiting, "does not": queue.call(1e-4, 1e-4)}, 1e-3)
    assert not times["waits"].queued
    assert times["does not"].queued
    assert max(queue.waits) == LONGEST_WAIT
