"""k(s) = exp(-s), the paper's Eq. 3; k'(s) = -exp(-s)."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials._potential import Potential


def _value(s: Any) -> Any:
    return namespace_of(s).exp(-s)


def _derivative(s: Any) -> Any:
    return -namespace_of(s).exp(-s)


GAUSSIAN = Potential(
    name="gaussian",
    value=_value,
    derivative=_derivative,
    cuda_value="exp_(-s)",
    cuda_derivative="-exp_(-s)",
)
