"""The sets of a call: how many layers are computed by one launch, and how far apart they lie in memory.

A call of one layer has arrays of two dimensions and is a call of one set. A call of several has the sets first in every
array; where all share one (a dimension of 1, or stride 0) it is read in place, as often as there are sets.
"""

from __future__ import annotations

from typing import Any


def num_sets(*arrays: Any) -> int:
    """How many sets arrays of [N, c], or of [S, N, c] or [1, N, c] where they are shared, have."""
    return next((a.shape[0] for a in arrays if a.ndim == 3 and a.shape[0] != 1), 1)


def set_stride(array: Any, dimensions: int = 2) -> int:
    """Elements from one set to the next of an array that has ``dimensions`` without sets; 0 where it is shared."""
    return array.stride(0) if array.ndim > dimensions and array.shape[0] > 1 else 0
