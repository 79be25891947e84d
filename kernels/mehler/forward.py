"""z = (x A) C^T + b: one pass over the input particles, one over the output particles."""

from __future__ import annotations

from typing import Any, NamedTuple

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.factor import Factor, make_factors
from pn_gpu.kernels.potentials import Potential

Array = Any

# Bytes that features may hold at any time.
FEATURE_BUDGET = 256 << 20


class Residuals(NamedTuple):
    """What a forward leaves to its backward."""

    inputs: Factor
    outputs: Factor
    projection: Array  # (x A)^T [R, B]


def forward(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None,
    potential: Potential,
    approximation: Approximation,
    budget: int = FEATURE_BUDGET,
) -> Array:
    """Return z [B, M] for x [B, N], r_in [N, n], v_in [N, d], r_out [M, n], v_out [M, d], bias [M] or
    None."""
    return forward_with_residuals(x, r_in, v_in, r_out, v_out, bias, potential, approximation, budget, keep=False)[0]


def forward_with_residuals(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None,
    potential: Potential,
    approximation: Approximation,
    budget: int = FEATURE_BUDGET,
    keep: bool = True,
) -> tuple[Array, Residuals]:
    """z [B, M], and what spares `backward` a pass over the inputs and, if it is not too large, the blocks."""
    library = Library(x, r_in)
    inputs, outputs = make_factors(library, approximation, r_in, v_in, r_out, v_out, bias, keep)
    y = project(inputs, x, budget)
    y_t = library.xp.matrix_transpose(y if bias is None else library.with_ones(y))  # ones: for the bias
    z = library.lasting(x.shape[0], outputs.length, dtype=library.product_dtype)

    def expand(group: list[slice]) -> None:
        for where in group:
            library.matmul(y_t, outputs.block(where).rows, z[:, where])

    library.map(expand, outputs.groups(x.shape[0], budget))
    return z, Residuals(inputs, outputs, y)


def project(factor: Factor, x: Array, budget: int) -> Array:
    """(x A)^T [R, B] for x [B, N] and the factor A^T [R, N]: all that the other node set needs to know."""
    library = factor.library

    def of_group(group: list[slice]) -> Array:
        return library.total(factor.project(factor.block(where), x) for where in group)

    parts = library.map(of_group, factor.groups(x.shape[0], budget))
    return library.total(parts) if parts else factor.nothing(x)
