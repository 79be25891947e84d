"""k(s) = 1 / (1 + s); k'(s) = -1 / (1 + s)^2, k''(s) = 2 / (1 + s)^3."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.potentials._potential import Potential


def _value(s: Any) -> Any:
    return 1 / (1 + s)


def _derivative(s: Any) -> Any:
    return -1 / (1 + s) ** 2


def _second_derivative(s: Any) -> Any:
    return 2 / (1 + s) ** 3


LORENTZIAN = Potential(
    name="lorentzian",
    value=_value,
    derivative=_derivative,
    cuda_value="rcp_(T(1) + s)",
    cuda_derivative="-rcp_(T(1) + s) * rcp_(T(1) + s)",
    second_derivative=_second_derivative,
)
