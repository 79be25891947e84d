"""How the tile loops are cut: every size in one place, with what it was chosen by."""

from __future__ import annotations

import numpy as np

from pn_gpu.kernels.host.slices import tile_slices

# [BI, BJ]. Tall tiles keep the running sums of z few; two of them, in float32, fill half of a 2 MB L2 cache.
FORWARD_TILE = (1024, 128)

# [BI, BJ]. Smaller tiles make BLAS copy its operands too often (256 x 256: 8 % slower at a batch of 512).
BACKWARD_TILE = (512, 512)

# Elementwise work runs over strips of a tile: what one call writes should still be in the L2 cache for the next,
# and smaller strips would spend their time handing the GIL from thread to thread.
STRIP_BYTES = 2**19

# Rows of x taken at once: bounds the workspace for any batch.
BATCH_TILE = 1024

# To make a weight costs about as much as this many multiply-adds.
WEIGHT_WORK = 64


def layer_work(batch: int, n_in: int, n_out: int) -> int:
    """Multiply-adds of one pass over the weights of a layer, their making included."""
    return n_in * n_out * (batch + WEIGHT_WORK)


def strip_slices(height: int, width: int, dtype: np.dtype[np.generic]) -> list[slice]:
    """Slices over the rows of a tile of ``height`` x ``width`` into strips of about `STRIP_BYTES`."""
    return tile_slices(height, max(1, STRIP_BYTES // (width * dtype.itemsize)))
