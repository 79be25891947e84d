"""Memory of results that nobody holds any more: fresh pages cost more than the arithmetic that fills them.

A training loop makes arrays of the same few sizes in every step and drops them again. Here their memory waits for the
next array of its size instead of going back to the system.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Smaller arrays are taken from memory that the process has anyway; larger ones come in huge pages.
SMALLEST_BYTES, LARGEST_BYTES = 2**17, 2**24
# What waits at the most, all sizes together.
MOST_WAITING_BYTES = 2**27

_waiting: dict[int, list[Array]] = {}


def recycled(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of any content; its memory is used again once it and all its views are gone."""
    size = math.prod(shape) * dtype.itemsize
    if not SMALLEST_BYTES <= size <= LARGEST_BYTES:
        return np.empty(shape, dtype)
    try:
        memory = _waiting[size].pop()
    except (KeyError, IndexError):
        memory = np.empty(size, np.uint8)
    return np.asarray(_Lease(memory)).view(dtype).reshape(shape)


class _Lease:
    """Holds memory for the array that is made of it, which is the base of all views and keeps this object alive."""

    def __init__(self, memory: Array) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        size = self._memory.nbytes
        if sum(each * len(arrays) for each, arrays in list(_waiting.items())) + size > MOST_WAITING_BYTES:
            _waiting.clear()  # most of it is of sizes that are not asked for any more
        _waiting.setdefault(size, []).append(self._memory)
