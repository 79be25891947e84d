"""How the tile loops are cut: every size in one place, with what it was chosen by."""

from __future__ import annotations

import numpy as np

# [BI, BJ]. Tall tiles keep the running sums of z few; two of them, in float32, fill half of a 2 MB L2 cache.
FORWARD_TILE = (1024, 128)

# [BI, BJ]. Smaller tiles make BLAS copy its operands too often (256 x 256: 8 % slower at a batch of 512).
BACKWARD_TILE = (512, 512)

# Elementwise work runs over strips of a tile: what one call writes should still be in the L2 cache for the next,
# and smaller strips would spend their time handing the GIL from thread to thread.
STRIP_BYTES = 2**19

# Rows of x taken at once: bounds the workspace for any batch.
BATCH_TILE = 1024

# Multiply-adds below which a call stays on its own thread: handing work to the pool takes about 0.1 ms.
SERIAL_WORK = 2**25

# Multiply-adds below which OpenBLAS stays on one thread by itself; setting its threads takes about 10 us.
BLAS_SERIAL_WORK = 2**18

# To make a weight costs about as much as this many multiply-adds.
WEIGHT_WORK = 64

# Groups of tiles for each thread: more of them even out the load, and every group has its own column sums.
GROUPS_PER_THREAD = 4


def layer_work(batch: int, n_in: int, n_out: int) -> int:
    """Multiply-adds of one pass over the weights of a layer, their making included."""
    return n_in * n_out * (batch + WEIGHT_WORK)


def tile_slices(length: int, tile: int) -> list[slice]:
    """Slices of at most ``tile`` that cover ``range(length)``."""
    return [slice(start, min(start + tile, length)) for start in range(0, length, tile)]


def even_slices(length: int, count: int) -> list[slice]:
    """About ``count`` slices of one length, but for the last, that cover ``range(length)``."""
    return tile_slices(length, max(1, -(-length // max(count, 1))))


def strip_slices(height: int, width: int, dtype: np.dtype[np.generic]) -> list[slice]:
    """Slices over the rows of a tile of ``height`` x ``width`` into strips of about `STRIP_BYTES`."""
    return tile_slices(height, max(1, STRIP_BYTES // (width * dtype.itemsize)))
