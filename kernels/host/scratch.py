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
    size = math.prod(shape) * dtype.itemsize
    kept = getattr(_own, purpose, None)
    if kept is None or kept.nbytes < size:
        kept = None
        setattr(_own, purpose, None)  # the old memory goes before the new comes
        kept = np.empty(size, np.uint8)
        if size <= MOST_KEPT_BYTES:
            setattr(_own, purpose, kept)
    return kept[:size].view(dtype).reshape(shape)
