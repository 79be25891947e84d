"""Memory that every thread keeps from call to call: fresh pages cost more than the arithmetic of a small layer."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# What a thread keeps for one purpose at the most; more is fresh every time.
MOST_KEPT_BYTES = 2**24

_own = threading.local()


def scratch(purpose: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of any content, this thread's own until it asks for the same purpose again."""
    last: Array | None = getattr(_own, purpose, None)
    if last is not None and last.shape == shape and last.dtype == dtype:
        return last
    size = math.prod(shape) * dtype.itemsize
    memory = None if last is None else last.base
    if memory is None or memory.nbytes < size:
        memory = last = None
        setattr(_own, purpose, None)  # the old memory goes before the new comes
        memory = np.empty(size, np.uint8)
    array = memory[:size].view(dtype).reshape(shape)
    if memory.nbytes <= MOST_KEPT_BYTES:
        setattr(_own, purpose, array)
    return array
