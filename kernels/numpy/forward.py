"""z = x W + b with W made tile by tile (Eq. 4 of the paper)."""

from __future__ import annotations

import numpy as np

from pn_gpu.kernels.host.recycle import recycled
from pn_gpu.kernels.host.scratch import scratch
from pn_gpu.kernels.host.slices import tile_slices
from pn_gpu.kernels.host.threads import parallel_map, share_out
from pn_gpu.kernels.numpy.pairs import NodePairs
from pn_gpu.kernels.numpy.tiles import BATCH_TILE, FORWARD_TILE, layer_work
from pn_gpu.kernels.room import Array, Direct, Particles


@np.errstate(all="ignore")
def forward(
    x: Array, particles: Particles, bias: Array | None, how: Direct, keep: bool = False
) -> tuple[Array, NodePairs | None]:
    """z [B, M] for x [B, N] and bias [M] or None, and with ``keep`` the tables that `backward` need not make again."""
    x = np.ascontiguousarray(x)  # BLAS takes no strides of 0 or below
    pairs = NodePairs(particles, how.potential)
    num_out = len(particles.r_out)
    z = recycled((len(x), num_out), x.dtype)

    def make_columns(column_tiles: list[slice]) -> None:
        for columns in column_tiles:
            for batch in tile_slices(len(x), BATCH_TILE):
                _multiply(x[batch], pairs, columns, z[batch, columns])
            if bias is not None:
                z[:, columns] += bias[columns]

    work = layer_work(len(x), x.shape[1], num_out)
    parallel_map(make_columns, share_out(num_out, FORWARD_TILE[1], work), work)
    return z, pairs if keep else None


def _multiply(x: Array, pairs: NodePairs, columns: slice, z: Array) -> None:
    """Write x [B, N] times the given columns of W to ``z`` [B, BJ]."""
    width = columns.stop - columns.start
    total = scratch("total", (len(x), width), x.dtype)
    row_tiles = tile_slices(x.shape[1], FORWARD_TILE[0])
    if not row_tiles:
        total[:] = 0
    for rows in row_tiles:
        shape = rows.stop - rows.start, width
        w, q = scratch("weights", shape, x.dtype), scratch("products", shape, x.dtype)
        pairs.weights(rows, columns, w, q)
        if rows.start:
            total += np.matmul(x[:, rows], w, out=scratch("partial", total.shape, x.dtype))
        else:
            np.matmul(x[:, rows], w, out=total)
    z[:] = total
