"""k(s) = max(0, 1 - rho)^4 (4 rho + 1), rho = sqrt s, of compact support; k'(s) = -10 max(0, 1 - rho)^3, k''(s) = 15
max(0, 1 - rho)^2 / rho, taken as 0 at s = 0."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials._potential import Potential


def _value(s: Any) -> Any:
    xp = namespace_of(s)
    distance = xp.sqrt(s)
    return xp.clip(1 - distance, min=0) ** 4 * (4 * distance + 1)


def _derivative(s: Any) -> Any:
    xp = namespace_of(s)
    return -10 * xp.clip(1 - xp.sqrt(s), min=0) ** 3


def _second_derivative(s: Any) -> Any:
    xp = namespace_of(s)
    inside = (s > 0) & (s < 1)
    distance = xp.sqrt(xp.where(inside, s, xp.ones_like(s)))
    return xp.where(inside, 15 * (1 - distance) ** 2 / distance, xp.zeros_like(s))


WENDLAND_C2 = Potential(
    name="wendland_c2",
    value=_value,
    derivative=_derivative,
    cuda_value="s >= T(1) ? T(0) : pow4_(T(1) - sqrt_(s)) * (T(4) * sqrt_(s) + T(1))",
    cuda_derivative="s >= T(1) ? T(0) : T(-10) * pow3_(T(1) - sqrt_(s))",
    second_derivative=_second_derivative,
)
