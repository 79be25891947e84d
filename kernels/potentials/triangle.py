"""k(s) = max(0, 1 - sqrt s); k'(s) = -1 / (2 sqrt s) for 0 < s < 1, taken as 0 elsewhere."""

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


TRIANGLE = Potential(
    name="triangle",
    value=_value,
    derivative=_derivative,
    smooth_at_zero=False,
    cuda_value="s >= T(1) ? T(0) : T(1) - sqrt_(s)",
    cuda_derivative="s <= T(0) || s >= T(1) ? T(0) : T(-0.5) * rsqrt_(s)",
)
