"""z = x W + b for a handful of rows, to full float32 or float64: `forward.product_kernel` without the product.

A product on multiply-adds takes tiles of at least 16 rows, and makes every row of them. Here a weight meets the rows
that are there, and sums over the inputs stay with the thread that makes the weights, until the end.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from pn_gpu.kernels.integers import ceil_div
from pn_gpu.kernels.triton.device import COMPILE_OPTIONS
from pn_gpu.kernels.triton.potentials import PairwiseFunctions
from pn_gpu.kernels.triton.rows import Rows
from pn_gpu.kernels.triton.sets import set_stride
from pn_gpu.kernels.triton.tables import ParticleTables
from pn_gpu.kernels.triton.tiles import ProductTile
from pn_gpu.kernels.triton.weights import dipole_products, load_components, squared_distances


@triton.jit
def few_rows_kernel(
    x,  # [S, B, N], rows of contiguous inputs
    table_in,  # [S, n + d, N']
    table_out,  # [S, n + d, M']
    bias,  # [S, M], with HAS_BIAS
    z,  # [splits, S, B, M], contiguous
    size_in,
    size_out,
    inputs_per_split,
    tiles_out,
    sets,  # a constant where it is 1, and then all that it takes is gone
    stride_x_set,
    stride_x,
    stride_table_set,
    stride_table,
    stride_bias_set,
    n: tl.constexpr,
    d: tl.constexpr,
    VALUE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BATCH: tl.constexpr,
    BO: tl.constexpr,
    BK: tl.constexpr,
):
    """One tile [BO, B] of z^T of one set, over one part of the inputs."""
    i_out, i_split = tl.program_id(0) % tiles_out, tl.program_id(1)
    i_set = (tl.program_id(0) // tiles_out % sets).to(tl.int64)
    x += i_set * stride_x_set
    table_in += i_set * stride_table_set
    table_out += i_set * stride_table_set
    z += (i_split.to(tl.int64) * sets + i_set) * BATCH * size_out
    o_out, o_in = i_out * BO + tl.arange(0, BO), tl.arange(0, BK)
    dipoles = n * stride_table
    r_out = load_components(table_out, o_out, stride_table, n)
    v_out = load_components(table_out + dipoles, o_out, stride_table, d)
    sums = ()
    for _ in tl.static_range(BATCH):
        sums = sums + (tl.zeros([BO, BK], table_in.dtype.element_ty),)  # noqa: RUF005
    start = i_split * inputs_per_split
    for k in tl.range(start, tl.minimum(start + inputs_per_split, size_in), BK):
        positions_in = table_in + k
        r_in = load_components(positions_in, o_in, stride_table, n)
        v_in = load_components(positions_in + dipoles, o_in, stride_table, d)
        s = squared_distances(table_out, r_out, o_out, positions_in, r_in, o_in, stride_table, n)
        q = dipole_products(table_out + dipoles, v_out, o_out, positions_in + dipoles, v_in, o_in, stride_table, d)
        w = q * VALUE(s)  # [BO, BK]
        added = ()
        for b in tl.static_range(BATCH):
            row = x + tl.cast(stride_x, tl.int64) * b + k
            added = added + (sums[b] + w * tl.load(row + o_in, mask=o_in < size_in - k, other=0.0)[None, :],)  # noqa: RUF005
        sums = added
    m_out = o_out < size_out
    for b in tl.static_range(BATCH):
        total = tl.sum(sums[b], axis=1)
        if HAS_BIAS:
            total += tl.load(bias + i_set * stride_bias_set + o_out, mask=m_out, other=0.0).to(total.dtype)
        tl.store(z + tl.cast(size_out, tl.int64) * b + o_out, total.to(z.dtype.element_ty), mask=m_out)


def launch_few_rows(
    x: Rows,
    tables: ParticleTables,
    bias: Any | None,
    z: Any,
    functions: PairwiseFunctions,
    tile: ProductTile,
    splits: int,
    inputs_per_split: int,
) -> None:
    """Fill z [splits, S, B, M]."""
    tiles_out = ceil_div(tables.size_out, tile.BO)
    few_rows_kernel[(tables.sets * tiles_out, splits)](
        x.high,
        tables.inputs,
        tables.outputs,
        z if bias is None else bias,
        z,
        x.columns,
        tables.size_out,
        inputs_per_split,
        tiles_out,
        tables.sets,
        x.set_stride,
        x.stride,
        tables.set_stride,
        tables.stride,
        0 if bias is None else set_stride(bias, 1),
        n=tables.n,
        d=tables.d,
        VALUE=functions.value,
        HAS_BIAS=bias is not None,
        BATCH=x.batch,
        BO=tile.BO,
        BK=tile.BK,
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        **COMPILE_OPTIONS,
    )
