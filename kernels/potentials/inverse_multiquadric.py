"""k(s) = (1 + s)^(-1/2); k'(s) = -(1 + s)^(-3/2) / 2, k''(s) = 3 (1 + s)^(-5/2) / 4."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials._potential import Potential


def _value(s: Any) -> Any:
    return 1 / namespace_of(s).sqrt(1 + s)


def _derivative(s: Any) -> Any:
    root = namespace_of(s).sqrt(1 + s)
    return -0.5 / (root * root * root)


def _second_derivative(s: Any) -> Any:
    base = 1 + s
    return 0.75 / (base * base * namespace_of(s).sqrt(base))


INVERSE_MULTIQUADRIC = Potential(
    name="inverse_multiquadric",
    value=_value,
    derivative=_derivative,
    cuda_value="rsqrt_(T(1) + s)",
    cuda_derivative="T(-0.5) * pow3_(rsqrt_(T(1) + s))",
    second_derivative=_second_derivative,
)
