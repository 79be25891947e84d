"""One tile of G = x^T dz, which both particle-gradient kernels start from."""

import triton
import triton.language as tl


@triton.jit
def rows_from(
    x, x_low, dz, dz_low, batch, i_set, stride_x_set, stride_dz_set, stride_x, stride_dz, first, count
):  # fmt: skip
    """The pointers at row ``first`` of a set, and how many of the rows from there on are there, ``count`` at most."""
    count = tl.minimum(batch - first, count)
    i_set, first = tl.cast(i_set, tl.int64), tl.cast(first, tl.int64)
    offset_x, offset_dz = i_set * stride_x_set + first * stride_x, i_set * stride_dz_set + first * stride_dz
    return x + offset_x, x_low + offset_x, dz + offset_dz, dz_low + offset_dz, count


@triton.jit
def outer_product(
    x, x_low, dz, dz_low, batch, rows_x, columns_dz, stride_x, stride_dz,
    ROWS_FAR_APART: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr,
    BI: tl.constexpr, BJ: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """x^T dz [BI, BJ] over the whole batch, from pointers at the first columns of the tile.

    ``rows_x`` and ``columns_dz`` are the columns that are left of x and of dz from there on.
    """
    o_batch, o_x, o_dz = tl.arange(0, BK), tl.arange(0, BI), tl.arange(0, BJ)
    m_x, m_dz = (o_x < rows_x)[None, :], (o_dz < columns_dz)[None, :]
    # Offsets within a step take 64 bits where they need them, and registers with them.
    OFFSET: tl.constexpr = tl.int64 if ROWS_FAR_APART else tl.int32
    o_row = o_batch.to(OFFSET)[:, None]
    o_x = o_row * stride_x + o_x[None, :]  # [BK, BI]
    o_dz = o_row * stride_dz + o_dz[None, :]  # [BK, BJ]
    step_x, step_dz = tl.cast(stride_x, OFFSET) * BK, tl.cast(stride_dz, OFFSET) * BK
    g = tl.zeros([BI, BJ], tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32)
    for b in tl.range(0, batch, BK):
        m_batch = (o_batch < batch - b)[:, None]
        x_tile = tl.load(x + o_x, mask=m_batch & m_x, other=0.0)
        dz_tile = tl.load(dz + o_dz, mask=m_batch & m_dz, other=0.0)
        g = tl.dot(tl.trans(x_tile), dz_tile, g, input_precision=PRECISION, out_dtype=g.dtype)
        if SPLIT:
            dz_low_tile = tl.load(dz_low + o_dz, mask=m_batch & m_dz, other=0.0)
            g = tl.dot(tl.trans(x_tile), dz_low_tile, g, input_precision=PRECISION)
            x_low_tile = tl.load(x_low + o_x, mask=m_batch & m_x, other=0.0)
            g = tl.dot(tl.trans(x_low_tile), dz_tile, g, input_precision=PRECISION)
        x += step_x
        dz += step_dz
        if SPLIT:
            x_low += step_x
            dz_low += step_dz
    return g
