"""Learning rates as functions of the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from pn_gpu.checks import check_number


class Schedule(ABC):
    """A learning rate for every step of a training run."""

    needs_length = True

    @abstractmethod
    def __call__(self, step: int, num_steps: int) -> float:
        """The learning rate of ``step`` (from 0) of ``num_steps``."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value:g}' for name, value in vars(self).items())})"


class Constant(Schedule):
    """The same learning rate at every step.

    Parameters
    ----------
    lr : float
        Above 0.
    """

    needs_length = False

    def __init__(self, lr: float) -> None:
        self.lr = check_number("lr", lr, low=0, low_open=True)

    def __call__(self, step: int, num_steps: int) -> float:
        return self.lr


class Cosine(Schedule):
    """A linear warm-up to the peak, then half a cosine down to the end.

    Parameters
    ----------
    peak : float
        Highest learning rate, above 0.
    end : float, default 0
        Learning rate of the last step.
    warmup : float, default 0
        Part of the steps spent warming up, 0 <= warmup < 1.
    """

    def __init__(self, peak: float, end: float = 0.0, warmup: float = 0.0) -> None:
        self.peak = check_number("peak", peak, low=0, low_open=True)
        self.end = check_number("end", end, low=0)
        self.warmup = check_number("warmup", warmup, low=0, high=1, high_open=True)

    def __call__(self, step: int, num_steps: int) -> float:
        rising = self.warmup * num_steps
        if step < rising:
            return self.peak * (step + 1) / (rising + 1)
        part = (step - rising) / max(num_steps - 1 - rising, 1)
        return self.end + (self.peak - self.end) * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


class OneCycle(Schedule):
    """Half a cosine up from ``peak / start_factor``, then half a cosine down to nearly 0 (Smith and Topin, 2018).

    Parameters
    ----------
    peak : float
        Highest learning rate, above 0.
    rise : float, default 0.3
        Part of the steps spent rising, 0 <= rise <= 1.
    start_factor : float, default 25
        The first learning rate is peak / start_factor; at least 1.
    end_factor : float, default 1e4
        The last one is the first divided by end_factor; at least 1.
    """

    def __init__(self, peak: float, rise: float = 0.3, start_factor: float = 25.0, end_factor: float = 1e4) -> None:
        self.peak = check_number("peak", peak, low=0, low_open=True)
        self.rise = check_number("rise", rise, low=0, high=1)
        self.start_factor = check_number("start_factor", start_factor, low=1)
        self.end_factor = check_number("end_factor", end_factor, low=1)

    def __call__(self, step: int, num_steps: int) -> float:
        start = self.peak / self.start_factor
        rising = self.rise * max(num_steps - 1, 1)
        if step < rising:
            return _cosine_between(start, self.peak, step / rising)
        part = (step - rising) / max(num_steps - 1 - rising, 1)
        return _cosine_between(self.peak, start / self.end_factor, min(part, 1.0))


def _cosine_between(first: float, last: float, part: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * part))


def as_schedule(lr: float | Schedule) -> Schedule:
    """A number as a constant schedule; a schedule as it is."""
    return lr if isinstance(lr, Schedule) else Constant(lr)
