"""Checks of arguments: every message names the argument, what it got and what it wanted."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """``value`` if it is one of ``choices``, else a ValueError."""
    options = list(choices)
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}: got {value!r}, want one of {', '.join(options)}")
    return value


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """A finite real number within bounds, as a float; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: got {value!r} ({type(value).__name__}), want a number")
    number = float(value)
    below = number <= low if low_open else number < low
    above = number >= high if high_open else number > high
    if not math.isfinite(number) or below or above:
        raise ValueError(f"{name}: got {value!r}, want {_interval(low, high, low_open, high_open)}")
    return number


def _interval(low: float, high: float, low_open: bool, high_open: bool) -> str:
    parts = []
    if low > -math.inf:
        parts.append(f"{'>' if low_open else '>='} {low:g}")
    if high < math.inf:
        parts.append(f"{'<' if high_open else '<='} {high:g}")
    return "a finite number" + (" " + " and ".join(parts) if parts else "")


def check_integer(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """A whole number within bounds, as an int; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: got {value!r} ({type(value).__name__}), want a whole number")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = " and ".join(
            text for text in (low is not None and f">= {low}", high is not None and f"<= {high}") if text
        )
        raise ValueError(f"{name}: got {number}, want a whole number {bounds}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """A bool; TypeError otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r} ({type(value).__name__}), want True or False")
    return value
