"""exp(-s) of whole tiles, in place, and without subnormal numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from pn_gpu.kernels.potentials.gaussian import farthest_square

Array = np.ndarray[Any, np.dtype[Any]]


def _exp2_is_vectorised() -> bool:
    """Whether NumPy's float32 exp2 runs on vector instructions here: then it takes half the time of exp."""
    try:
        loops = np.lib.introspect.opt_func_info("^exp2$")["exp2"]
    except (AttributeError, KeyError):
        return False
    return any("baseline" not in loop["current"] for loop in loops.values())


EXP2_IS_VECTORISED = _exp2_is_vectorised()


@cache
def _farthest_square(dtype: np.dtype[Any]) -> float:
    return farthest_square(float(np.finfo(dtype).tiny))


class GaussianValues:
    """The Gaussian of squared distances that are given in its own unit.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    largest : float
        No s is larger; NaN where that is not known. Near enough, two passes over every tile are spared.

    Attributes
    ----------
    unit : scalar
        What s is to be multiplied with: log2(e) where exp2 is the faster, else 1.
    """

    def __init__(self, dtype: np.dtype[Any], largest: float) -> None:
        base2 = EXP2_IS_VECTORISED and dtype == np.float32
        self._exp = np.exp2 if base2 else np.exp
        self.unit = dtype.type(np.log2(np.e) if base2 else 1)
        farthest = _farthest_square(dtype)
        self._reaches_far = not largest <= farthest
        if self._reaches_far:
            self._least_exponent = -self.unit * dtype.type(farthest)
            # As a tile's values are made: whatever is farther comes out as 0 to the last bit.
            self._least_value = self._exp(np.full(64, self._least_exponent))[0]

    def exponentiate(self, k: Array) -> None:
        """k(s) from ``-unit * s`` in place; 0 from `farthest_square` on."""
        if self._reaches_far:
            np.maximum(k, self._least_exponent, out=k)
        self._exp(k, out=k)
        if self._reaches_far:
            np.subtract(k, self._least_value, out=k)
