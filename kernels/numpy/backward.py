"""Gradients of one layer from one pass over the tiles of W and of G = x^T dz; neither is ever stored whole."""

from __future__ import annotations

import numpy as np

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.numpy.pairs import Array, NodePairs, tile_slices
from pn_gpu.kernels.numpy.reductions import Reduction, make_reduction
from pn_gpu.kernels.numpy.threads import num_threads, parallel_map
from pn_gpu.kernels.potentials import Potential

TILE_IN, TILE_OUT = 512, 256
# Rows of x taken at once: bounds the workspace for any batch.
TILE_BATCH = 1024


def backward(
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: Potential,
    need_dx: bool = True,
    need_particles: bool = True,
) -> OperatorGradient:
    """Gradients for dz [B, M] and x [B, N], with the particles of `forward`."""
    pairs = NodePairs(r_in, v_in, r_out, v_out, potential)
    dx = np.empty_like(x, order="C") if need_dx else None
    row_tiles = tile_slices(x.shape[1], TILE_IN)
    groups = [row_tiles[start :: num_threads()] for start in range(min(num_threads(), len(row_tiles)))]
    # Every group sums over its own rows, so the result does not depend on which thread comes first.
    reductions = [make_reduction(pairs) if need_particles else None for _ in groups]
    for batch in tile_slices(len(x), TILE_BATCH):
        dz_tiles = [(columns, np.ascontiguousarray(dz[batch, columns])) for columns in tile_slices(dz.shape[1], TILE_OUT)]

        def run_group(task: tuple[list[slice], Reduction | None]) -> None:
            rows, reduction = task
            dx_batch = None if dx is None else dx[batch]  # noqa: B023 - run before the loop goes on
            _pass_over_tiles(rows, x[batch], dz_tiles, pairs, dx_batch, reduction)  # noqa: B023

        parallel_map(run_group, list(zip(groups, reductions, strict=True)))
    dbias = dz.sum(axis=0)
    if not need_particles:
        return OperatorGradient(dx, None, None, None, None, dbias)
    total = reductions[0] if reductions else make_reduction(pairs)
    for other in reductions[1:]:
        total.merge(other)
    return OperatorGradient(dx, *total.gradients(), dbias)


def _pass_over_tiles(
    row_tiles: list[slice],
    x: Array,
    dz_tiles: list[tuple[slice, Array]],
    pairs: NodePairs,
    dx: Array | None,
    reduction: Reduction | None,
) -> None:
    """Fill the given columns of ``dx`` [B, N] and add the tiles of G to ``reduction``."""
    shape = (TILE_IN, TILE_OUT)
    buffers = [np.empty(shape[0] * shape[1], x.dtype) for _ in range(3)]
    for rows in row_tiles:
        height = rows.stop - rows.start
        x_tile = np.ascontiguousarray(x[:, rows])  # [B, BI]
        dx_tile = np.zeros((height, len(x)), x.dtype)  # [BI, B]
        partial = np.empty_like(dx_tile)
        for columns, dz_tile in dz_tiles:
            width = columns.stop - columns.start
            k, g, scratch = (buffer[: height * width].reshape(height, width) for buffer in buffers)
            pairs.values(rows, columns, k, scratch)
            if dx is not None:
                pairs.dipole_products(rows, columns, scratch)
                scratch *= k
                np.matmul(scratch, dz_tile.T, out=partial)
                dx_tile += partial
            if reduction is not None:
                np.matmul(x_tile.T, dz_tile, out=g)
                reduction.add(rows, columns, g, k, scratch)
        if dx is not None:
            _copy_transposed(dx_tile, dx[:, rows])


def _copy_transposed(source: Array, target: Array) -> None:
    """``target[:] = source.T`` in blocks: three times as fast as NumPy's own strided copy."""
    for rows in tile_slices(source.shape[0], 64):
        for columns in tile_slices(source.shape[1], 64):
            target[columns, rows] = source[rows, columns].T
