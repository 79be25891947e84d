"""z = (x A) C^T + b: one pass over the input particles, one over the output particles."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from pn_gpu.kernels.mehler.arrays import Library, Product, total
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.factor import Panel, Panels, make_factors
from pn_gpu.kernels.numpy.tiles import even_slices
from pn_gpu.kernels.potentials import Potential

Array = Any

# Bytes that features may hold at any time.
FEATURE_BUDGET = 256 << 20


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
    library = Library(x, r_in)
    inputs, outputs = make_factors(library, approximation, r_in, v_in, r_out, v_out, bias)
    (y,) = project(library, (x, Panels(inputs, budget)))  # [R, B]
    if bias is not None:
        y = library.with_ones(y)  # for what does not depend on x
    z = library.empty(x.shape[0], outputs.length, dtype=library.product_dtype)
    for panel in Panels(outputs, budget):
        library.compute(library.by_columns(expand(library, y, panel, z)))
    return z


def project(library: Library, *pairs: tuple[Array, Panels]) -> list[Array]:
    """(x A)^T [R, B] for each x [B, N] and the panels of its factor: all that the other node set needs to know."""
    sums: list[list[Array]] = [[] for _ in pairs]
    for panels in zip_longest(*(panels for _, panels in pairs)):
        products = []
        for parts, (x, _), panel in zip(sums, pairs, panels, strict=True):
            if panel is not None:
                terms = _projections(library, x, panel)
                products += terms
                parts += [term.out for term in terms]
        library.compute(products)
        sums = [[total(parts)] if parts else [] for parts in sums]
    return [
        parts[0] if parts else library.zeros(panels.num_rows, x.shape[0], dtype=library.product_dtype)
        for parts, (x, panels) in zip(sums, pairs, strict=True)
    ]


def _projections(library: Library, x: Array, panel: Panel) -> list[Product]:
    """Products whose sum is (x A)^T for the particles of a panel, one for every thread."""
    count, width = panel.rows.shape
    x_part = x[:, panel.where]
    share = library.share(x.shape[0] * count * width)
    return [
        Product(
            panel.rows[:, where],
            library.xp.matrix_transpose(x_part[:, where]),
            library.empty(count, x.shape[0], dtype=library.product_dtype),
        )
        for where in even_slices(width, share)
    ]


def expand(library: Library, y: Array, panel: Panel, out: Array) -> Product:
    """y^T A^T [B, BP], to be written to the columns of a panel in ``out`` [B, N], for y [R, B]."""
    return Product(library.xp.matrix_transpose(y), panel.rows, out[:, panel.where])
