"""k(s) = max(0, 1 - rho), rho = sqrt s; k'(s) = -1 / (2 rho) and k''(s) = 1 / (4 rho^3) for 0 < s < 1, taken as 0
elsewhere."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials._potential import Potential


def _value(s: Any) -> Any:
    xp = namespace_of(s)
    return xp.clip(1 - xp.sqrt(s), min=0)


def _derivative(s: Any) -> Any:
    xp = namespace_of(s)
    outside = (s <= 0) | (s >= 1)
    distance = xp.sqrt(xp.where(outside, xp.ones_like(s), s))
    return xp.where(outside, xp.zeros_like(s), -0.5 / distance)


def _second_derivative(s: Any) -> Any:
    xp = namespace_of(s)
    inside = (s > 0) & (s < 1)
    distance = xp.sqrt(xp.where(inside, s, xp.ones_like(s)))
    return xp.where(inside, 0.25 / distance**3, xp.zeros_like(s))


TRIANGLE = Potential(
    name="triangle",
    value=_value,
    derivative=_derivative,
    smooth_at_zero=False,
    cuda_value="s >= T(1) ? T(0) : T(1) - sqrt_(s)",
    cuda_derivative="s <= T(0) || s >= T(1) ? T(0) : T(-0.5) * rsqrt_(s)",
    second_derivative=_second_derivative,
)
