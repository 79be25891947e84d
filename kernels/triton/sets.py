"""How far the sets of a call lie apart in memory."""

from __future__ import annotations

from typing import Any


def set_stride(array: Any, dimensions: int = 2) -> int:
    """Elements from one set to the next of an array that has ``dimensions`` without sets; 0 where it is shared."""
    return array.stride(0) if array.ndim > dimensions and array.shape[0] > 1 else 0
