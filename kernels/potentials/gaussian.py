"""k(s) = exp(-s), the paper's Eq. 3; k'(s) = -exp(-s), k''(s) = exp(-s)."""

from __future__ import annotations

import math
from typing import Any

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials._potential import Potential


def _value(s: Any) -> Any:
    return namespace_of(s).exp(-s)


def _derivative(s: Any) -> Any:
    return -namespace_of(s).exp(-s)


def _second_derivative(s: Any) -> Any:
    return namespace_of(s).exp(-s)


def farthest_square(smallest_normal: float) -> float:
    """The s at which exp(-s) is the root of the dtype's smallest normal number; from there on it is 0 on the CPU.

    Any smaller, its products with dipoles and inputs would be subnormal numbers, with which processors take up to 50
    times as long. So that no weight jumps, the CPU kernels take exp(-min(s, farthest)) - exp(-farthest) where s may be
    larger: in float32 1.1e-19 less, which changes nothing above 1e-11.
    """
    return -math.log(smallest_normal) / 2


GAUSSIAN = Potential(
    name="gaussian",
    value=_value,
    derivative=_derivative,
    cuda_value="exp_(-s)",
    cuda_derivative="-exp_(-s)",
    second_derivative=_second_derivative,
)
