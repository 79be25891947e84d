"""Launches of the particle gradient: which reduction, which chunks of tiles, and the slabs they sum into."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton

from pn_gpu.kernels.integers import ceil_div
from pn_gpu.kernels.triton.chunks import Chunks, Parts, choose_chunks
from pn_gpu.kernels.triton.device import COMPILE_OPTIONS, Device, device_of
from pn_gpu.kernels.triton.differences import difference_kernel
from pn_gpu.kernels.triton.factors import Factors
from pn_gpu.kernels.triton.fused import FusedPass, launch_fused
from pn_gpu.kernels.triton.moments import gradient_from_moments_kernel, moment_kernel, moment_table_kernel
from pn_gpu.kernels.triton.potentials import PairwiseFunctions
from pn_gpu.kernels.triton.rows import Rows
from pn_gpu.kernels.triton.tables import BLOCK, ParticleTables
from pn_gpu.kernels.triton.tiles import (
    GradientTile,
    difference_tile,
    fused_tile,
    moment_tile,
    moment_tile_of_pass,
)

# Widest moment table of one program; a wider one is shared out among several.
MAX_WIDTH = 64
MIN_WIDTH = 16
# Every part of the batch makes the pairwise values anew, and its slabs are summed one after the other.
MOST_BATCH_PARTS = 16


def particle_gradient(
    x: Rows,
    dz: Rows,
    tables: ParticleTables,
    factors: Factors | None,
    functions: PairwiseFunctions,
    arithmetic: str,
    fused: FusedPass | None = None,
) -> tuple[Any, Any, Any, Any]:
    """dr_in [S, N, n], dv_in [S, N, d], dr_out [S, M, n], dv_out [S, M, d] of G = x^T dz in the dtype of the tables.

    With ``fused`` the pass over the weights leaves dx there.
    """
    if 0 in (tables.sets, x.batch, tables.size_in, tables.size_out):
        return (*_empty_gradient(tables, zero=True), *_empty_gradient(tables.exchanged(), zero=True))
    fits = functions.derivative_is_minus_value or 2 * tables.d <= MAX_WIDTH
    if arithmetic in ("float32", "float64") or not functions.smooth_at_zero or not fits:
        return _from_differences(x, dz, tables, functions, arithmetic)
    return _from_moments(x, dz, tables, factors, functions, arithmetic, fused)


def fused_pass(x: Rows, dz: Rows, tables: ParticleTables, factors: Factors | None, need_dx: bool) -> FusedPass | None:
    """One pass for dx and the gradient, where it pays."""
    if factors is None or x.batch == 0:
        return None
    device = device_of(x.high)
    columns = _moment_columns(tables, tables.n)
    tile = fused_tile(device.family, _splits_tile(x), x.batch, columns)
    if tile is None:
        return None
    programs = max(1, device.multiprocessors * tile.programs // tables.sets)
    tiles = ceil_div(x.columns, tile.BI), ceil_div(dz.columns, tile.BJ)
    numbers = tile.BI * (columns + x.batch * need_dx), tile.BJ * columns
    chunks = choose_chunks(*tiles, programs, 1, *numbers)  # operands of a row's first tile come too late
    size = chunks.chunks_out, tables.sets, x.batch, tables.size_in
    dx = tables.inputs.new_empty(size) if need_dx else None
    return FusedPass(tile, *chunks, dx)


def _empty_gradient(tables: ParticleTables, zero: bool = False) -> tuple[Any, Any]:
    """Memory for the gradients of the input particles."""
    make = tables.inputs.new_zeros if zero else tables.inputs.new_empty
    return make((tables.sets, tables.size_in, tables.n)), make((tables.sets, tables.size_in, tables.d))


def _parts(x: Rows, dz: Rows, sets: int, tile: GradientTile, device: Device) -> Parts:
    """The parts of every set: all sets together fill the device."""
    programs = max(1, device.multiprocessors * tile.programs // sets)
    chunks = choose_chunks(ceil_div(x.columns, tile.BI), ceil_div(dz.columns, tile.BJ), programs)
    steps = ceil_div(x.batch, tile.BK)
    wanted = min(steps, programs // (chunks.chunks_in * chunks.chunks_out), MOST_BATCH_PARTS)
    steps_of_part = ceil_div(steps, max(1, wanted))
    return Parts(chunks, ceil_div(steps, steps_of_part), steps_of_part * tile.BK)


def _launch_options(x: Rows, dz: Rows, tile: GradientTile, arithmetic: str) -> dict[str, Any]:
    """What both reductions compile with."""
    return {
        "ROWS_FAR_APART": max(x.stride, dz.stride) * tile.BK >= 2**31,
        "SPLIT": arithmetic == "halves",
        "PRECISION": "ieee",
        "BI": tile.BI,
        "BJ": tile.BJ,
        "BK": tile.BK,
        "num_warps": tile.num_warps,
        "num_stages": tile.num_stages,
        **COMPILE_OPTIONS,
    }


def _sizes(x: Rows, dz: Rows, tables: ParticleTables, parts: Parts) -> tuple[int, ...]:
    """The scalar arguments both reductions begin with."""
    return (
        x.batch,
        x.columns,
        dz.columns,
        tables.padded_in,
        tables.padded_out,
        parts.chunks.tiles_in,
        parts.chunks.tiles_out,
        parts.batch,
        parts.rows,
        tables.sets,
        x.set_stride,
        dz.set_stride,
        x.stride,
        dz.stride,
        tables.set_stride,
        tables.stride,
    )


def _from_differences(
    x: Rows, dz: Rows, tables: ParticleTables, functions: PairwiseFunctions, arithmetic: str
) -> tuple[Any, Any, Any, Any]:
    device = device_of(x.high)
    n, d = tables.n, tables.d
    tile = difference_tile(arithmetic)
    parts = _parts(x, dz, tables.sets, tile, device)
    sums_in = tables.inputs.new_empty((tables.sets, parts.of_inputs, n + d, tables.padded_in))
    sums_out = tables.inputs.new_empty((tables.sets, parts.of_outputs, n + d, tables.padded_out))
    difference_kernel[(tables.sets * parts.batch, parts.chunks.chunks_in, parts.chunks.chunks_out)](
        x.high,
        x.low,
        dz.high,
        dz.low,
        tables.inputs,
        tables.outputs,
        sums_in,
        sums_out,
        *_sizes(x, dz, tables, parts),
        n=n,
        d=d,
        VALUE=functions.value,
        DERIVATIVE=functions.derivative,
        **_launch_options(x, dz, tile, arithmetic),
    )
    return (*_gradient_from_sums(sums_in, tables), *_gradient_from_sums(sums_out, tables.exchanged()))


def _gradient_from_sums(sums: Any, tables: ParticleTables) -> tuple[Any, Any]:
    """Gradients of the input particles of ``tables`` from their slabs of summed differences."""
    total = sums[..., : tables.size_in].sum(dim=1).mT  # [S, N, n + d]
    # The differences that were summed are scaled as the positions in the tables are.
    dr = total[..., : tables.n] * (2 / tables.position_scale)
    return dr.contiguous(), total[..., tables.n :].contiguous()


class MomentTable(NamedTuple):
    """Columns [high | low] of `moments.moment_table_kernel` at the particles of both sides, and their width."""

    inputs: Any  # [S, chunks, N' + ..., width]
    outputs: Any  # [S, chunks, M' + ..., width]
    chunks: int
    width: int


def _moment_columns(tables: ParticleTables, axes: int) -> int:
    """Columns [high | low] of the moments."""
    return 2 * tables.d * (axes + 1)


def _splits_tile(x: Rows) -> bool:
    """A tile of bfloat16 G may be rounded once more, as torch rounds its G; everything finer keeps two halves of it."""
    return bool(x.high.dtype != torch.bfloat16)


def _moment_table(tables: ParticleTables, axes: int) -> MomentTable:
    columns = _moment_columns(tables, axes)
    width = max(MIN_WIDTH, min(MAX_WIDTH, triton.next_power_of_2(columns)))
    chunks = ceil_div(columns, width)
    particles = tables.padded_in + tables.padded_out
    table = torch.empty((tables.sets, chunks, particles, width), dtype=torch.bfloat16, device=tables.inputs.device)
    blocks = particles // BLOCK
    moment_table_kernel[(tables.sets * blocks, chunks)](
        table, tables.inputs, blocks, tables.set_stride, tables.stride, n=tables.n, d=tables.d, AXES=axes, WIDTH=width,
        BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    return MomentTable(table, table[:, :, tables.padded_in :], chunks, width)


def _from_moments(
    x: Rows,
    dz: Rows,
    tables: ParticleTables,
    factors: Factors | None,
    functions: PairwiseFunctions,
    arithmetic: str,
    fused: FusedPass | None,
) -> tuple[Any, Any, Any, Any]:
    device = device_of(x.high)
    merged = functions.derivative_is_minus_value
    split_tile = _splits_tile(x) or arithmetic == "halves"
    moments = _moment_table(tables, tables.n)
    dipoles = moments if merged else _moment_table(tables, 0)
    if fused is None:
        tile = moment_tile(device.family, arithmetic, merged, split_tile, moments.width)
        parts = _parts(x, dz, tables.sets, tile, device)
    else:
        tile = moment_tile_of_pass(device.family, arithmetic, split_tile, fused.tile)
        parts = Parts(Chunks(*fused[1:5]), 1, ceil_div(x.batch, tile.BK) * tile.BK)

    def slabs(table: MomentTable, count: int, padded: int) -> Any:
        return tables.inputs.new_empty((tables.sets, moments.chunks, count, padded, table.width))

    sums_in = slabs(moments, parts.of_inputs, tables.padded_in)
    sums_out = slabs(moments, parts.of_outputs, tables.padded_out)
    dipole_sums_in = sums_in if merged else slabs(dipoles, parts.of_inputs, tables.padded_in)
    dipole_sums_out = sums_out if merged else slabs(dipoles, parts.of_outputs, tables.padded_out)
    if fused is not None:
        assert factors is not None
        tables_of_sides, sums_of_sides = (moments.inputs, moments.outputs), (sums_in, sums_out)
        launch_fused(fused, x, dz, tables, factors, tables_of_sides, sums_of_sides, split_tile)
    for is_factored in (False,) if factors is None or fused is not None else (True, False):
        moment_kernel[(tables.sets * moments.chunks * parts.batch, parts.chunks.chunks_in, parts.chunks.chunks_out)](
            x.high,
            x.low,
            dz.high,
            dz.low,
            tables.inputs,
            tables.outputs,
            *_factor_arguments(factors, x.high),
            moments.inputs,
            moments.outputs,
            dipoles.inputs,
            dipoles.outputs,
            sums_in,
            sums_out,
            dipole_sums_in,
            dipole_sums_out,
            *_sizes(x, dz, tables, parts),
            0 if factors is None else factors.set_stride,
            0 if factors is None else factors.blocks,
            moments.chunks,
            n=tables.n,
            VALUE=functions.value,
            DERIVATIVE=functions.derivative,
            FACTORED=is_factored,
            CHOOSES=factors is not None,
            MERGED=merged,
            SPLIT_TILE=split_tile,
            WIDTH=moments.width,
            WIDTH_V=dipoles.width,
            **_launch_options(x, dz, tile, arithmetic),
        )
    return (
        *_gradient_from_moments(sums_in, dipole_sums_in, tables, merged),
        *_gradient_from_moments(sums_out, dipole_sums_out, tables.exchanged(), merged),
    )


def _factor_arguments(factors: Factors | None, unread: Any) -> tuple[Any, ...]:
    """What `moments.moment_kernel` takes of the factors."""
    if factors is None:
        return (unread,) * 3
    return factors.inputs.left_exponents, factors.outputs.right_exponents, factors.is_far


def _gradient_from_moments(sums: Any, dipole_sums: Any, tables: ParticleTables, merged: bool) -> tuple[Any, Any]:
    """Gradients of the input particles of ``tables`` from their slabs of moments."""
    dr, dv = _empty_gradient(tables)
    gradient_from_moments_kernel[(tables.sets * ceil_div(tables.size_in, BLOCK),)](
        sums,
        dipole_sums,
        tables.inputs,
        dr,
        dv,
        tables.size_in,
        tables.padded_in,
        sums.shape[2],
        sums.stride(0),
        dipole_sums.stride(0),
        tables.set_stride,
        tables.stride,
        SCALE=tables.position_scale,
        n=tables.n,
        d=tables.d,
        MERGED=merged,
        WIDTH=sums.shape[-1],
        WIDTH_V=dipole_sums.shape[-1],
        BLOCK=BLOCK,
        num_warps=4,
    )
    return dr, dv
