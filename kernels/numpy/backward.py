"""Gradients of one layer from one pass over the tiles of W and of G = x^T dz; neither is ever stored whole."""

from __future__ import annotations

import numpy as np

from pn_gpu.kernels.host.recycle import recycled
from pn_gpu.kernels.host.scratch import scratch
from pn_gpu.kernels.host.slices import tile_slices
from pn_gpu.kernels.host.threads import parallel_map, share_out
from pn_gpu.kernels.numpy.pairs import NodePairs
from pn_gpu.kernels.numpy.reductions import Reduction, make_reduction
from pn_gpu.kernels.numpy.tiles import BACKWARD_TILE, BATCH_TILE, layer_work, strip_slices
from pn_gpu.kernels.room import Array, Direct, OperatorGradient, Particles


@np.errstate(all="ignore")
def backward(
    dz: Array,
    x: Array,
    particles: Particles,
    how: Direct,
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: NodePairs | None = None,
) -> OperatorGradient:
    """Gradients for dz [B, M] and x [B, N], with the particles of `forward`, and its residuals where it kept them."""
    pairs = NodePairs(particles, how.potential) if residuals is None else residuals
    total = make_reduction(pairs) if need_particles else None
    dbias = np.add.reduce(dz, axis=0)
    dx = recycled(x.shape, x.dtype) if need_dx else None
    if need_dx or need_particles:
        work = layer_work(len(x), x.shape[1], dz.shape[1])
        groups = share_out(x.shape[1], BACKWARD_TILE[0], work)
        # Every group sums over its own rows, so the result does not depend on which thread comes first.
        others = [] if total is None else [total.new_group() for _ in groups[1:]]
        for batch in tile_slices(len(x), BATCH_TILE):
            x_batch, dx_batch = x[batch], None if dx is None else dx[batch]
            # Contiguous: the rows of a wide matrix lie on a memory page each, and every tile of x meets them again.
            dz_tiles = [(c, np.ascontiguousarray(dz[batch, c])) for c in tile_slices(dz.shape[1], BACKWARD_TILE[1])]

            def pass_over_group(task: tuple[list[slice], Reduction | None]) -> None:
                _pass_over_tiles(task[0], x_batch, dz_tiles, pairs, dx_batch, task[1])  # noqa: B023 - used at once

            tasks = zip(groups, [total, *others] if others else [total] * len(groups), strict=True)
            parallel_map(pass_over_group, list(tasks), work)
        while total is not None and others:
            total.merge(others.pop(0))  # which goes at once: it is as wide as the layer
    dr_in, dv_in, dr_out, dv_out = (None, None, None, None) if total is None else total.gradients()
    return OperatorGradient(dx, dr_in, dv_in, dr_out, dv_out, dbias)


def _pass_over_tiles(
    row_tiles: list[slice],
    x: Array,
    dz_tiles: list[tuple[slice, Array]],
    pairs: NodePairs,
    dx: Array | None,
    reduction: Reduction | None,
) -> None:
    """Fill the given columns of ``dx`` [B, N] and add the tiles of G to ``reduction``."""
    for rows in row_tiles:
        height = rows.stop - rows.start
        x_tile = scratch("inputs", (len(x), height), x.dtype)  # [B, BI]
        x_tile[:] = x[:, rows]
        # [BI, B]: BLAS makes it faster than its transpose.
        dx_tile = scratch("total", (height, len(x)), x.dtype)
        if not dz_tiles:
            dx_tile[:] = 0
        for columns, dz_tile in dz_tiles:
            shape = height, columns.stop - columns.start
            k, g, spare = (scratch(name, shape, x.dtype) for name in ("values", "products", "spare"))
            strips = strip_slices(*shape, x.dtype)
            for strip in strips:
                strip_rows = slice(rows.start + strip.start, rows.start + strip.stop)
                pairs.values(strip_rows, columns, k[strip], g[strip])
                if dx is not None:
                    pairs.dipole_products(strip_rows, columns, g[strip])
                    g[strip] *= k[strip]
            if dx is not None:
                if columns.start:
                    dx_tile += np.matmul(g, dz_tile.T, out=scratch("partial", dx_tile.shape, x.dtype))
                else:
                    np.matmul(g, dz_tile.T, out=dx_tile)
            if reduction is None:
                continue
            _outer_products(x_tile, dz_tile, g)
            for strip in strips:
                strip_rows = slice(rows.start + strip.start, rows.start + strip.stop)
                reduction.add(strip_rows, columns, g[strip], k[strip], spare[strip])
        if dx is not None:
            _copy_transposed(dx_tile, dx[:, rows])


def _outer_products(x: Array, dz: Array, g: Array) -> None:
    """``g[:] = x.T @ dz``."""
    if len(x) == 1:
        np.multiply(x.T, dz, out=g)  # NumPy's matmul takes ten times as long for an inner dimension of 1
    else:
        np.matmul(x.T, dz, out=g)


def _copy_transposed(source: Array, target: Array) -> None:
    """``target[:] = source.T`` in blocks: three times as fast as NumPy's own strided copy."""
    for rows in tile_slices(source.shape[0], 64):
        for columns in tile_slices(source.shape[1], 64):
            target[columns, rows] = source[rows, columns].T
