"""z = (x A) C^T + b: one pass over the input particles, one over the output particles."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.mehler.arrays import Job, Library, total
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.features import NodeFeatures
from pn_gpu.kernels.mehler.outside import add_outside_forward
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Room

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
    direct: Room,
    budget: int = FEATURE_BUDGET,
) -> Array:
    """Return z [B, M] for x [B, N], r_in [N, n], v_in [N, d], r_out [M, n], v_out [M, d], bias [M] or
    None."""
    library = Library(x, r_in)
    inputs = NodeFeatures(library, approximation.expansion, r_in, v_in, approximation.outside_in)
    outputs = NodeFeatures(library, approximation.expansion, r_out, v_out, approximation.outside_out)
    (y,) = project(library, budget, (x, inputs))  # [d P, B]
    if bias is not None:  # one more feature, which is 1 for the inputs: cheaper than a pass over z
        y = library.xp.concat([y, library.xp.ones_like(y[:1, :])])
    z = library.empty(x.shape[0], r_out.shape[0], dtype=library.product_dtype)

    def make_columns(chunks: list[slice]) -> None:
        work = outputs.make_workspace(chunks[0].stop - chunks[0].start)
        for chunk in chunks:
            phi = outputs.features(outputs.coordinates(chunk), work)
            folded = outputs.fold(phi, outputs.dipoles(chunk), work, None if bias is None else bias[chunk])
            library.matmul(library.xp.matrix_transpose(y), folded, z[:, chunk])

    library.run(Job(make_columns, library.chunks(r_out.shape[0], outputs.rows, x.shape[0], budget)))
    return add_outside_forward(z, x, r_in, v_in, r_out, v_out, bias, potential, approximation, direct)


def project(library: Library, budget: int, *pairs: tuple[Array, NodeFeatures]) -> list[Array]:
    """(x A)^T [d P, B] for each x [B, N] and its node set: all that the other node set needs to know."""
    parts = library.run(*(_projection(library, x, nodes, budget) for x, nodes in pairs))
    return [
        total(part, library.zeros(nodes.dim * nodes.expansion.num_features, x.shape[0], dtype=library.product_dtype))
        for part, (x, nodes) in zip(parts, pairs, strict=True)
    ]


def _projection(library: Library, x: Array, nodes: NodeFeatures, budget: int) -> Job:
    def sum_chunks(chunks: list[slice]) -> Array:
        work = nodes.make_workspace(chunks[0].stop - chunks[0].start)
        y = None
        for chunk in chunks:
            phi = nodes.features(nodes.coordinates(chunk), work)
            folded = nodes.fold(phi, nodes.dipoles(chunk), work)
            part = folded @ library.xp.matrix_transpose(x[:, chunk])
            y = part if y is None else y + part
        return y

    return Job(sum_chunks, library.chunks(x.shape[1], nodes.rows, x.shape[0], budget))
