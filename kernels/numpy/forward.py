"""z = x W + b with W made tile by tile (Eq. 4 of the paper)."""

from __future__ import annotations

import numpy as np

from pn_gpu.kernels.numpy.pairs import Array, NodePairs, tile_slices
from pn_gpu.kernels.numpy.threads import parallel_map
from pn_gpu.kernels.potentials import Potential

# Two tiles of 1024 x 128 float32 fill half of a 2 MB L2 cache; tall tiles keep the running sums few.
TILE_IN, TILE_OUT = 1024, 128
# Rows of x taken at once: bounds the workspace for any batch.
TILE_BATCH = 1024


def forward(
    x: Array, r_in: Array, v_in: Array, r_out: Array, v_out: Array, bias: Array | None, potential: Potential
) -> Array:
    """Return z [B, M] for x [B, N], r_in [N, n], v_in [N, d], r_out [M, n], v_out [M, d], bias [M] or None."""
    pairs = NodePairs(r_in, v_in, r_out, v_out, potential)
    z = np.empty((len(x), len(r_out)), x.dtype)

    def make_columns(columns: slice) -> None:
        for batch in tile_slices(len(x), TILE_BATCH):
            z[batch, columns] = _product(x[batch], pairs, columns)
        if bias is not None:
            z[:, columns] += bias[columns]

    parallel_map(make_columns, tile_slices(len(r_out), TILE_OUT))
    return z


def _product(x: Array, pairs: NodePairs, columns: slice) -> Array:
    """x [B, N] times the columns of W: [B, BJ]."""
    width = columns.stop - columns.start
    z = np.zeros((len(x), width), x.dtype)
    partial = np.empty_like(z)
    tile = np.empty((min(TILE_IN, x.shape[1]), width), x.dtype)
    scratch = np.empty_like(tile)
    for rows in tile_slices(x.shape[1], TILE_IN):
        w = tile[: rows.stop - rows.start]
        pairs.weights(rows, columns, w, scratch[: len(w)])
        np.matmul(x[:, rows], w, out=partial)
        z += partial
    return z
