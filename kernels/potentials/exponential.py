"""k(s) = exp(-rho), rho = sqrt s; k'(s) = -exp(-rho) / (2 rho), k''(s) = exp(-rho) (1 + rho) / (4 rho^3), both taken as
0 at s = 0."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials._potential import Potential


def _value(s: Any) -> Any:
    xp = namespace_of(s)
    return xp.exp(-xp.sqrt(s))


def _derivative(s: Any) -> Any:
    xp = namespace_of(s)
    coincident = s <= 0
    distance = xp.sqrt(xp.where(coincident, xp.ones_like(s), s))
    return xp.where(coincident, xp.zeros_like(s), -xp.exp(-distance) / (2 * distance))


def _second_derivative(s: Any) -> Any:
    xp = namespace_of(s)
    distance = xp.sqrt(xp.where(s > 0, s, xp.ones_like(s)))
    return xp.where(s > 0, xp.exp(-distance) * (1 + distance) / (4 * distance**3), xp.zeros_like(s))


EXPONENTIAL = Potential(
    name="exponential",
    value=_value,
    derivative=_derivative,
    smooth_at_zero=False,
    cuda_value="exp_(-sqrt_(s))",
    cuda_derivative="s <= T(0) ? T(0) : T(-0.5) * exp_(-sqrt_(s)) * rsqrt_(s)",
    second_derivative=_second_derivative,
)
