"""z = (x A) C^T + b: one pass over the input particles, one over the output particles."""

from __future__ import annotations

from typing import NamedTuple

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.factor import Factor, make_factors
from pn_gpu.kernels.room import Array, Mehler, Particles


class Residuals(NamedTuple):
    """What a forward leaves to its backward."""

    inputs: Factor
    outputs: Factor
    projection: Array  # (x A)^T [R, B]


def forward(
    x: Array, particles: Particles, bias: Array | None, how: Mehler, keep: bool = False
) -> tuple[Array, Residuals | None]:
    """z [B, M] for x [B, N] and bias [M] or None; with ``keep`` what spares `backward` a pass over the inputs and, if
    it is not too large, the blocks."""
    library = Library(x, particles.r_in)
    inputs, outputs = make_factors(library, how.approximation, particles, bias, keep)
    y = project(inputs, x)
    y_t = library.xp.matrix_transpose(y if bias is None else library.with_ones(y))  # ones: for the bias
    z = library.lasting(x.shape[0], outputs.length, dtype=library.product_dtype)

    def expand(group: list[slice]) -> None:
        for where in group:
            library.matmul(y_t, outputs.block(where).rows, z[:, where])

    library.map(expand, outputs.groups(x.shape[0]))
    return z, Residuals(inputs, outputs, y) if keep else None


def project(factor: Factor, x: Array) -> Array:
    """(x A)^T [R, B] for x [B, N] and the factor A^T [R, N]: all that the other node set needs to know."""
    library = factor.library

    def of_group(group: list[slice]) -> Array:
        return library.total(factor.project(factor.block(where), x) for where in group)

    parts = library.map(of_group, factor.groups(x.shape[0]))
    return library.total(parts) if parts else factor.nothing(x)
