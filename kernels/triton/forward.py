"""z = x W + b with every tile of W made in registers, as the A operand of the product z^T = W^T x^T.

The batch is the product's N dimension: a weight is made once per batch tile and goes from the registers it was made in
to the tensor core. dx = dz W^T is the same product with the node sets exchanged. Where the tiles of z are too few to
fill the device (a small batch, a narrow layer), the inputs are split into parts whose sums are added in a fixed order;
so are those of several sets, where they belong to one dx that all sets share.

With FACTORED the weights themselves are made on tensor cores (see `factors`), as long as no particle is far out; where
one is, the same kernel without it does the work, and which of the two returns at once is known to the device alone.
"""

import triton
import triton.language as tl

from pn_gpu.kernels.triton.exponentials import shared_exp2
from pn_gpu.kernels.triton.factors import any_far, factor_products, load_factors
from pn_gpu.kernels.triton.weights import dipole_products, load_components, squared_distances


@triton.jit
def product_kernel(
    x,  # [S, B, N], rows of contiguous inputs
    x_low,  # [S, B, N], what rounding to 16 bits left of x, with SPLIT; else not read
    table_in,  # [S, n + d, N']
    table_out,  # [S, n + d, M']
    exponents_out,  # [S, M', 16], left factors, with FACTORED
    exponents_in,  # [S, N', 16], right factors
    dipoles_out,
    dipoles_in,
    is_far,  # [S, blocks], with CHOOSES
    bias,  # [S, M], with HAS_BIAS
    z,  # [splits, S, B, M], contiguous
    batch,
    size_in,
    size_out,
    inputs_per_split,
    tiles_out,
    sets,  # a constant where it is 1, and then all that it takes is gone
    stride_x_set,
    stride_x,
    stride_table_set,
    stride_table,
    stride_factors_set,
    blocks,
    stride_bias_set,
    stride_split,
    n: tl.constexpr,
    d: tl.constexpr,
    VALUE: tl.constexpr,
    FACTORED: tl.constexpr,
    CHOOSES: tl.constexpr,  # there is a launch with FACTORED and one without it
    SHARES_EXPONENTIALS: tl.constexpr,  # with FACTORED
    HAS_BIAS: tl.constexpr,
    SPLIT: tl.constexpr,
    PADDED: tl.constexpr,  # x has readable zeros up to a multiple of BK inputs
    PRECISION: tl.constexpr,
    BO: tl.constexpr,
    BB: tl.constexpr,
    BK: tl.constexpr,
):
    """One tile [BO, BB] of z^T of one set, over one part of the inputs."""
    # Neighbouring programs share their rows of x.
    i_out, i_rows, i_split = tl.program_id(0) % tiles_out, tl.program_id(0) // tiles_out, tl.program_id(1)
    i_batch, i_set = i_rows // sets, (i_rows % sets).to(tl.int64)
    if CHOOSES:  # noqa: SIM102
        if any_far(is_far + i_set * blocks, blocks) == FACTORED:
            return
    o_out = i_out * BO + tl.arange(0, BO)
    o_in = tl.arange(0, BK)
    o_batch = tl.arange(0, BB)
    dipoles = n * stride_table
    table_in += i_set * stride_table_set
    table_out += i_set * stride_table_set
    # The rows of a tile may lie 2^31 elements apart.
    first_row = i_batch.to(tl.int64) * BB
    rows = (batch - first_row).to(tl.int32)
    # Rows past the batch repeat its last one: nothing of them is stored, and the loads need no mask.
    o_x = tl.minimum(o_batch, rows - 1).to(tl.int64)[:, None] * stride_x + o_in[None, :]  # [BB, BK]
    x += i_set * stride_x_set + first_row * stride_x
    x_low += i_set * stride_x_set + first_row * stride_x
    if FACTORED:
        exponents_in += i_set * stride_factors_set
        exponents_out += i_set * stride_factors_set
        dipoles_in += i_set * stride_factors_set
        dipoles_out += i_set * stride_factors_set
        exponents = load_factors(exponents_out, o_out)  # [BO, 16]
        q_factors = load_factors(dipoles_out, o_out)
    else:
        r_out = load_components(table_out, o_out, stride_table, n)
        v_out = load_components(table_out + dipoles, o_out, stride_table, d)
    z_t = tl.zeros([BO, BB], tl.float64 if table_in.dtype.element_ty == tl.float64 else tl.float32)
    start = i_split * inputs_per_split
    for k in tl.range(start, tl.minimum(start + inputs_per_split, size_in), BK):
        if PADDED:
            x_tile = tl.load(x + k + o_x)  # [BB, BK]
        else:
            x_tile = tl.load(x + k + o_x, mask=(o_in < size_in - k)[None, :], other=0.0)
        if FACTORED:
            q = factor_products(q_factors, load_factors(dipoles_in, k + o_in))
            s = factor_products(exponents, load_factors(exponents_in, k + o_in))
            if SHARES_EXPONENTIALS:
                w = q * shared_exp2(s, o_in)  # [BO, BK]
            else:
                w = q * tl.exp2(s)
        else:
            positions_in = table_in + k
            r_in = load_components(positions_in, o_in, stride_table, n)
            v_in = load_components(positions_in + dipoles, o_in, stride_table, d)
            s = squared_distances(table_out, r_out, o_out, positions_in, r_in, o_in, stride_table, n)
            q = dipole_products(table_out + dipoles, v_out, o_out, positions_in + dipoles, v_in, o_in, stride_table, d)
            w = q * VALUE(s)  # [BO, BK]
        w_high = w.to(x_tile.dtype)
        z_t = tl.dot(w_high, tl.trans(x_tile), z_t, input_precision=PRECISION, out_dtype=z_t.dtype)
        if SPLIT:
            w_low = (w - w_high.to(tl.float32)).to(x_tile.dtype)
            z_t = tl.dot(w_low, tl.trans(x_tile), z_t, input_precision=PRECISION)
            x_low_tile = tl.load(x_low + k + o_x)
            z_t = tl.dot(w_high, tl.trans(x_low_tile), z_t, input_precision=PRECISION)
    m_out = o_out < size_out
    if HAS_BIAS:
        z_t += tl.load(bias + i_set * stride_bias_set + o_out, mask=m_out, other=0.0)[:, None].to(z_t.dtype)
    z += i_split.to(tl.int64) * stride_split + (i_set * batch + first_row) * size_out
    o_z = o_batch.to(tl.int64)[:, None] * size_out + o_out[None, :]  # [BB, BO]
    tl.store(z + o_z, tl.trans(z_t).to(z.dtype.element_ty), mask=(o_batch < rows)[:, None] & m_out[None, :])


@triton.jit
def sum_splits_kernel(
    partial,  # [splits, S, B, M]
    bias,  # [S, M], with HAS_BIAS
    z,  # [S, B, M]
    splits,
    elements,
    elements_of_set,
    size_out,
    stride_bias_set,
    HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """z = the sum of the parts, first to last, plus the bias."""
    o_z = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m_z = o_z < elements
    total = tl.load(partial + o_z, mask=m_z, other=0.0)
    for _ in tl.range(1, splits):
        partial += elements
        total += tl.load(partial + o_z, mask=m_z, other=0.0)
    if HAS_BIAS:
        o_bias = o_z // elements_of_set * stride_bias_set + o_z % size_out
        total += tl.load(bias + o_bias, mask=m_z, other=0.0).to(total.dtype)
    tl.store(z + o_z, total.to(z.dtype.element_ty), mask=m_z)
