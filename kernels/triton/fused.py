"""dx and the particle gradient of a small batch from one pass over the weights.

Both need every k_ij, and with few rows making them is most of the work: so a tile is made once, as the weights w = q k
of dx^T = W dz^T and as a = -G k of the moments (see `moments`, whose tables and slabs these are). The whole batch is
one step of the products, so the loop over output tiles is flat, and the next tile's operands are fetched meanwhile.

Weights are made of factors. Where a particle is too far out for them, the kernels that make dx and moments one after
the other do the work, on the same memory. Every program writes dx of its input tiles as summed over its output tiles;
the chunks of them are added in a fixed order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from pn_gpu.kernels.triton.device import COMPILE_OPTIONS
from pn_gpu.kernels.triton.factors import Factors, any_far, factor_products, load_factors
from pn_gpu.kernels.triton.moments import add_moments
from pn_gpu.kernels.triton.rows import Rows
from pn_gpu.kernels.triton.tables import ParticleTables
from pn_gpu.kernels.triton.tiles import FusedTile


class FusedPass(NamedTuple):
    """How one pass is shared out, and where it leaves dx."""

    tile: FusedTile
    tiles_in: int  # of one chunk
    tiles_out: int
    chunks_in: int
    chunks_out: int
    dx: Any | None  # [chunks_out, S, B, N] float32, if it is wanted


@triton.jit
def fused_backward_kernel(
    x,  # [S, B, N + padding]
    dz,  # [S, B, M + padding]
    exponents_in,  # [S, N', 16], left factors
    exponents_out,  # [S, M', 16], right factors
    dipoles_in,
    dipoles_out,
    is_far,  # [S, blocks]
    moments_in,  # [S, N' + M', WIDTH] bfloat16: the moment table, at its input particles
    moments_out,  # the same at its output particles
    sums_in,  # [S, out_chunks, N', WIDTH]
    sums_out,  # [S, in_chunks, M', WIDTH]
    dx,  # [out_chunks, S, B, N], with HAS_DX
    batch,
    columns_in,
    columns_out,
    size_in,
    padded_in,
    padded_out,
    tiles_in,  # tiles of a chunk
    tiles_out,
    sets,  # a constant where it is 1
    stride_x_set,
    stride_dz_set,
    stride_x,
    stride_dz,
    stride_factors_set,
    blocks,
    HAS_DX: tl.constexpr,
    SPLIT_TILE: tl.constexpr,
    WIDTH: tl.constexpr,
    BI: tl.constexpr,
    BJ: tl.constexpr,
    BB: tl.constexpr,  # holds the batch
    STAGES: tl.constexpr,
):
    """Moments of a chunk of tiles [BI, BJ] of a of a set, and dx of its inputs from its outputs."""
    i_set, i_in, i_out = (tl.program_id(0) % sets).to(tl.int64), tl.program_id(1), tl.program_id(2)
    if any_far(is_far + i_set * blocks, blocks):
        return
    x += i_set * stride_x_set
    dz += i_set * stride_dz_set
    exponents_in += i_set * stride_factors_set
    exponents_out += i_set * stride_factors_set
    dipoles_in += i_set * stride_factors_set
    dipoles_out += i_set * stride_factors_set
    moments_in += i_set * (padded_in + padded_out) * WIDTH
    moments_out += i_set * (padded_in + padded_out) * WIDTH
    sums_in += (i_set * tl.num_programs(2) + i_out) * padded_in * WIDTH
    sums_out += (i_set * tl.num_programs(1) + i_in) * padded_out * WIDTH
    dx += (i_out.to(tl.int64) * sets + i_set) * batch * size_in
    first_in, first_out = i_in * tiles_in * BI, i_out * tiles_out * BJ
    end_in = tl.minimum(first_in + tiles_in * BI, columns_in)
    end_out = tl.minimum(first_out + tiles_out * BJ, columns_out)
    o_in, o_out, o_batch, o_width = tl.arange(0, BI), tl.arange(0, BJ), tl.arange(0, BB), tl.arange(0, WIDTH)
    o_sums_in = o_in[:, None] * WIDTH + o_width[None, :]  # [BI, WIDTH]
    o_sums_out = o_out[:, None] * WIDTH + o_width[None, :]  # [BJ, WIDTH]
    m_batch = (o_batch < batch)[:, None]
    o_x = o_batch.to(tl.int64)[:, None] * stride_x + o_in[None, :]  # [BB, BI]
    o_dz = o_batch.to(tl.int64)[:, None] * stride_dz + o_out[None, :]  # [BB, BJ]
    for i in tl.range(first_in, end_in, BI, num_stages=1):
        x_tile = tl.load(x + i + o_x, mask=m_batch & (o_in < columns_in - i)[None, :], other=0.0)
        exponents = load_factors(exponents_in, i + o_in)  # [BI, 16]
        table_i = tl.load(moments_in + i * WIDTH + o_sums_in)
        if HAS_DX:
            q_factors = load_factors(dipoles_in, i + o_in)
            dx_t = tl.zeros([BI, BB], tl.float32)
        p_in = tl.zeros([BI, WIDTH], tl.float32)
        m_later = i > first_in
        for j in tl.range(first_out, end_out, BJ, num_stages=STAGES):
            dz_tile = tl.load(dz + j + o_dz, mask=m_batch & (o_out < columns_out - j)[None, :], other=0.0)
            k = tl.exp2(factor_products(exponents, load_factors(exponents_out, j + o_out)))  # [BI, BJ]
            if HAS_DX:
                w = factor_products(q_factors, load_factors(dipoles_out, j + o_out)) * k
                dx_t = tl.dot(w.to(dz_tile.dtype), tl.trans(dz_tile), dx_t, input_precision="ieee")
            a = tl.dot(tl.trans(x_tile), dz_tile, input_precision="ieee") * k * -1.0
            p_in = add_moments(p_in, a, tl.load(moments_out + j * WIDTH + o_sums_out), SPLIT_TILE)
            slab = sums_out + j * WIDTH
            p_out = tl.load(slab + o_sums_out, mask=m_later, other=0.0)
            p_out = add_moments(p_out, tl.trans(a), table_i, SPLIT_TILE)
            tl.store(slab + o_sums_out, p_out)
        tl.store(sums_in + i * WIDTH + o_sums_in, p_in)
        if HAS_DX:
            o_dx = o_batch.to(tl.int64)[:, None] * size_in + (i + o_in)[None, :]  # [BB, BI]
            tl.store(dx + o_dx, tl.trans(dx_t), mask=m_batch & (o_in < size_in - i)[None, :])
        # The next tile of inputs reads what this one wrote to the slab.
        tl.debug_barrier()


def launch_fused(
    fused: FusedPass,
    x: Rows,
    dz: Rows,
    tables: ParticleTables,
    factors: Factors,
    moments: tuple[Any, Any],
    sums: tuple[Any, Any],
    split_tile: bool,
) -> None:
    """Fill the slabs of moments, and dx, unless a particle is far out."""
    tile, has_dx = fused.tile, fused.dx is not None
    inputs, outputs = factors.inputs, factors.outputs
    fused_backward_kernel[(tables.sets, fused.chunks_in, fused.chunks_out)](
        x.high,
        dz.high,
        inputs.left_exponents,
        outputs.right_exponents,
        inputs.left_dipoles,
        outputs.right_dipoles,
        factors.is_far,
        *moments,
        *sums,
        fused.dx if has_dx else sums[0],
        x.batch,
        x.columns,
        dz.columns,
        tables.size_in,
        tables.padded_in,
        tables.padded_out,
        fused.tiles_in,
        fused.tiles_out,
        tables.sets,
        x.set_stride,
        dz.set_stride,
        x.stride,
        dz.stride,
        factors.set_stride,
        factors.blocks,
        HAS_DX=has_dx,
        SPLIT_TILE=split_tile,
        WIDTH=sums[0].shape[-1],
        BI=tile.BI,
        BJ=tile.BJ,
        BB=tile.BB,
        STAGES=tile.num_stages,
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        **COMPILE_OPTIONS,
    )
