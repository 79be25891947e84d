"""z = x W + b with W made tile by tile (Eq. 4 of the paper)."""

from __future__ import annotations

import numpy as np

from pn_gpu.kernels.numpy.pairs import Array, NodePairs
from pn_gpu.kernels.numpy.recycle import recycled
from pn_gpu.kernels.numpy.scratch import scratch
from pn_gpu.kernels.numpy.threads import parallel_map, share_out
from pn_gpu.kernels.numpy.tiles import BATCH_TILE, FORWARD_TILE, layer_work, tile_slices
from pn_gpu.kernels.potentials import Potential


def forward(
    x: Array, r_in: Array, v_in: Array, r_out: Array, v_out: Array, bias: Array | None, potential: Potential
) -> Array:
    """Return z [B, M] for x [B, N], r_in [N, n], v_in [N, d], r_out [M, n], v_out [M, d], bias [M] or None."""
    return forward_with_residuals(x, r_in, v_in, r_out, v_out, bias, potential)[0]


def forward_with_residuals(
    x: Array, r_in: Array, v_in: Array, r_out: Array, v_out: Array, bias: Array | None, potential: Potential
) -> tuple[Array, NodePairs]:
    """z [B, M], and the tables that `backward` need not make again."""
    x = np.ascontiguousarray(x)  # BLAS takes no strides of 0 or below
    with np.errstate(all="ignore"):
        pairs = NodePairs(r_in, v_in, r_out, v_out, potential)
    z = recycled((len(x), len(r_out)), x.dtype)

    def make_columns(column_tiles: list[slice]) -> None:
        for columns in column_tiles:
            for batch in tile_slices(len(x), BATCH_TILE):
                _multiply(x[batch], pairs, columns, z[batch, columns])
            if bias is not None:
                z[:, columns] += bias[columns]

    work = layer_work(len(x), x.shape[1], len(r_out))
    parallel_map(make_columns, share_out(len(r_out), FORWARD_TILE[1], work), work)
    return z, pairs


def _multiply(x: Array, pairs: NodePairs, columns: slice, z: Array) -> None:
    """Write x [B, N] times the given columns of W to ``z`` [B, BJ]."""
    width = columns.stop - columns.start
    total, partial = (scratch(name, (len(x), width), x.dtype) for name in ("total", "partial"))
    row_tiles = tile_slices(x.shape[1], FORWARD_TILE[0])
    if not row_tiles:
        total[:] = 0
    for rows in row_tiles:
        w, q = (scratch(name, (rows.stop - rows.start, width), x.dtype) for name in ("weights", "products"))
        pairs.weights(rows, columns, w, q)
        np.matmul(x[:, rows], w, out=partial if rows.start else total)
        if rows.start:
            total += partial
    z[:] = total
