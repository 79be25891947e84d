"""Particle gradients on tensor cores, from moments of the tiles of G k'.

With a_ij = G_ij k'(s_ij), G = x^T dz, and c_ij = v_i . v_j, the gradient of an input position is

    dr_i = 2 sum_j a_ij (v_i . v_j) (r_i - r_j) = 2 sum_c v_ic (r_i sum_j a_ij v_jc - sum_j a_ij v_jc r_j),

so the product of a tile of a with the moment table [v_j, v_j r_j] of d (n + 1) columns carries all of it, and the
tile never sees a dipole; the output particles are served by the transposed tile. For the Gaussian a = -G k, and the
first d columns are the dipole gradients too; other potentials take a second product, of G k with [v_j].

Tables and tiles enter the tensor cores as bfloat16: a table in two halves, high and low, side by side; a tile in two
halves where ``SPLIT_TILE``. The rounding of a tile is the same factor in both sums of dr_i, so no digits are lost to
their difference.

Every program owns a chunk of input tiles times a chunk of output tiles, and where these are too few to fill the device
a part of the batch (all is linear in G). It writes the moments of its input particles
once, adds those of its output particles to an own slab, and a second kernel adds up the slabs in a fixed order: no
atomics, so the same bits every time.
"""

import triton
import triton.language as tl

from pn_gpu.kernels.triton.factors import any_far, factor_products, load_factors
from pn_gpu.kernels.triton.outer_product import outer_product, rows_from
from pn_gpu.kernels.triton.weights import load_components, squared_distances


@triton.jit
def moment_table_kernel(
    moments,  # [S, chunks, N' + M', WIDTH] bfloat16
    table,  # [S, n + d, N' + M'], particle tables
    blocks,  # of a set
    stride_table_set,
    stride_table,
    n: tl.constexpr,
    d: tl.constexpr,
    AXES: tl.constexpr,  # n for [v, v r], 0 for [v]
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Columns [c_high | c_low] of the moments c = [v, v r_1, ..., v r_AXES], in chunks of WIDTH."""
    COUNT: tl.constexpr = d * (AXES + 1)
    i_block, i_set, i_chunk = tl.program_id(0) % blocks, tl.program_id(0) // blocks, tl.program_id(1)
    table += i_set.to(tl.int64) * stride_table_set
    o_particle = i_block * BLOCK + tl.arange(0, BLOCK)
    o_width = tl.arange(0, WIDTH)
    o_column = i_chunk * WIDTH + o_width
    m_low = o_column >= COUNT
    o_moment = o_column % COUNT
    axis = o_moment // d
    m_table = (o_column < 2 * COUNT)[None, :]
    o_dipole = (n + o_moment % d) * stride_table
    moment = tl.load(table + o_dipole[None, :] + o_particle[:, None], mask=m_table, other=0.0)
    m_position = m_table & (axis > 0)[None, :]
    o_position = (axis - 1) * stride_table
    moment *= tl.load(table + o_position[None, :] + o_particle[:, None], mask=m_position, other=1.0)
    high = moment.to(tl.bfloat16)
    low = (moment - high.to(tl.float32)).to(tl.bfloat16)
    i_slice = i_set.to(tl.int64) * tl.num_programs(1) + i_chunk
    o_moments = (i_slice * blocks * BLOCK + o_particle)[:, None] * WIDTH + o_width[None, :]
    tl.store(moments + o_moments, tl.where(m_low[None, :], low, high))


@triton.jit
def add_moments(sums, tile, table, SPLIT_TILE: tl.constexpr):
    """sums [BR, WIDTH] + tile [BR, BC] @ table [BC, WIDTH]."""
    high = tile.to(tl.bfloat16)
    sums = tl.dot(high, table, sums)
    if SPLIT_TILE:
        low = (tile - high.to(tl.float32)).to(tl.bfloat16)
        sums = tl.dot(low, table, sums)
    return sums


@triton.jit
def moment_kernel(
    x,  # [S, B, N + padding]
    x_low,
    dz,  # [S, B, M + padding]
    dz_low,
    table_in,  # [S, n + d, N']
    table_out,  # [S, n + d, M']
    exponents_in,  # [S, N', 16], left factors, with FACTORED
    exponents_out,  # [S, M', 16], right factors
    is_far,  # [S, blocks], with CHOOSES
    moments_in,  # [S, chunks, N' + M', WIDTH] bfloat16: the moment table, at its input particles
    moments_out,  # the same at its output particles
    dipoles_in,  # [S, 1, N' + M', WIDTH_V] bfloat16: [v] alone, with not MERGED
    dipoles_out,
    sums_in,  # [S, chunks, out_chunks * batch_parts, N', WIDTH]
    sums_out,  # [S, chunks, in_chunks * batch_parts, M', WIDTH]
    dipole_sums_in,  # [S, chunks, out_chunks * batch_parts, N', WIDTH_V]
    dipole_sums_out,  # [S, chunks, in_chunks * batch_parts, M', WIDTH_V]
    batch,
    size_in,
    size_out,
    padded_in,
    padded_out,
    tiles_in,  # tiles of a chunk
    tiles_out,
    batch_parts,
    rows_of_part,
    sets,  # a constant where it is 1
    stride_x_set,
    stride_dz_set,
    stride_x,
    stride_dz,
    stride_table_set,
    stride_table,
    stride_factors_set,
    blocks,
    chunks,  # of the moment table
    n: tl.constexpr,
    VALUE: tl.constexpr,
    DERIVATIVE: tl.constexpr,
    FACTORED: tl.constexpr,  # k is made of factors; with MERGED
    CHOOSES: tl.constexpr,  # there is a launch with FACTORED and one without it
    MERGED: tl.constexpr,  # a = G k' carries the dipole gradients too
    ROWS_FAR_APART: tl.constexpr,  # a step of BK rows passes 2^31 elements
    SPLIT: tl.constexpr,
    SPLIT_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_V: tl.constexpr,
    BI: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    """Moments of a chunk of tiles [BI, BJ] of a = G k' of a set, for a chunk of the moment table."""
    i_piece, i_set = tl.program_id(0) // sets, (tl.program_id(0) % sets).to(tl.int64)
    i_chunk, i_part = i_piece // batch_parts, i_piece % batch_parts
    i_slice = i_set * chunks + i_chunk
    i_in, i_out = tl.program_id(1), tl.program_id(2)
    if CHOOSES:  # noqa: SIM102
        if any_far(is_far + i_set * blocks, blocks) == FACTORED:
            return
    x, x_low, dz, dz_low, batch = rows_from(
        x, x_low, dz, dz_low, batch, i_set, stride_x_set, stride_dz_set, stride_x, stride_dz,
        i_part * rows_of_part, rows_of_part,
    )  # fmt: skip
    o_width, o_width_v = tl.arange(0, WIDTH), tl.arange(0, WIDTH_V)
    particles = padded_in + padded_out
    table_in += i_set * stride_table_set
    table_out += i_set * stride_table_set
    exponents_in += i_set * stride_factors_set
    exponents_out += i_set * stride_factors_set
    moments_in += i_slice * particles * WIDTH
    moments_out += i_slice * particles * WIDTH
    dipoles_in += i_set * particles * WIDTH_V
    dipoles_out += i_set * particles * WIDTH_V
    slab_in = ((i_slice * tl.num_programs(2) + i_out) * batch_parts + i_part) * padded_in
    slab_out = ((i_slice * tl.num_programs(1) + i_in) * batch_parts + i_part) * padded_out
    sums_in += slab_in * WIDTH
    sums_out += slab_out * WIDTH
    dipole_sums_in += slab_in * WIDTH_V
    dipole_sums_out += slab_out * WIDTH_V
    first_in, first_out = i_in * tiles_in * BI, i_out * tiles_out * BJ
    end_in = tl.minimum(first_in + tiles_in * BI, size_in)
    end_out = tl.minimum(first_out + tiles_out * BJ, size_out)
    o_in, o_out = tl.arange(0, BI), tl.arange(0, BJ)
    o_sums_in = o_in[:, None] * WIDTH + o_width[None, :]  # [BI, WIDTH]
    o_sums_out = o_out[:, None] * WIDTH + o_width[None, :]  # [BJ, WIDTH]
    o_dipole_in = o_in[:, None] * WIDTH_V + o_width_v[None, :]
    o_dipole_out = o_out[:, None] * WIDTH_V + o_width_v[None, :]
    for i in tl.range(first_in, end_in, BI, num_stages=1):
        if FACTORED:
            exponents = load_factors(exponents_in, i + o_in)  # [BI, 16]
        else:
            r_in = load_components(table_in + i, o_in, stride_table, n)
        table_i = tl.load(moments_in + i * WIDTH + o_sums_in)
        p_in = tl.zeros([BI, WIDTH], tl.float32)
        v_in = tl.zeros([BI, WIDTH_V], tl.float32)
        m_later = i > first_in
        for j in tl.range(first_out, end_out, BJ, num_stages=1):
            a = outer_product(
                x + i, x_low + i, dz + j, dz_low + j, batch, size_in - i, size_out - j, stride_x, stride_dz,
                ROWS_FAR_APART, SPLIT, PRECISION, BI, BJ, BK,
            )  # fmt: skip
            if FACTORED:
                a *= tl.exp2(factor_products(exponents, load_factors(exponents_out, j + o_out))) * -1.0
            else:
                r_out = load_components(table_out + j, o_out, stride_table, n)
                s = squared_distances(table_in + i, r_in, o_in, table_out + j, r_out, o_out, stride_table, n)
            if not MERGED:
                gk = a * VALUE(s)
                v_in = add_moments(v_in, gk, tl.load(dipoles_out + j * WIDTH_V + o_dipole_out), SPLIT_TILE)
                slab = dipole_sums_out + j * WIDTH_V
                v_out = tl.load(slab + o_dipole_out, mask=m_later, other=0.0)
                table_v = tl.load(dipoles_in + i * WIDTH_V + o_dipole_in)
                v_out = add_moments(v_out, tl.trans(gk), table_v, SPLIT_TILE)
                tl.store(slab + o_dipole_out, v_out)
            if not FACTORED:
                a *= DERIVATIVE(s)
            p_in = add_moments(p_in, a, tl.load(moments_out + j * WIDTH + o_sums_out), SPLIT_TILE)
            slab = sums_out + j * WIDTH
            p_out = tl.load(slab + o_sums_out, mask=m_later, other=0.0)
            p_out = add_moments(p_out, tl.trans(a), table_i, SPLIT_TILE)
            tl.store(slab + o_sums_out, p_out)
        tl.store(sums_in + i * WIDTH + o_sums_in, p_in)
        if not MERGED:
            tl.store(dipole_sums_in + i * WIDTH_V + o_dipole_in, v_in)
        # The next tile of inputs reads what this one wrote to the slab.
        tl.debug_barrier()


@triton.jit
def total(sums, column, o_particle, padded, parts, WIDTH: tl.constexpr):
    """Sum over the parts of one column of [chunks, parts, padded, WIDTH], first to last; o_particle is int64."""
    o_row = o_particle + (column // WIDTH) * parts * padded
    sums += column % WIDTH
    result = tl.load(sums + o_row * WIDTH)
    for _ in tl.range(1, parts):
        o_row += padded
        result += tl.load(sums + o_row * WIDTH)
    return result


@triton.jit
def moment(sums, c, COUNT: tl.constexpr, o_particle, padded, parts, WIDTH: tl.constexpr):
    """Moment c from its high and its low column."""
    high = total(sums, c, o_particle, padded, parts, WIDTH)
    return high + total(sums, c + COUNT, o_particle, padded, parts, WIDTH)


@triton.jit
def gradient_from_moments_kernel(
    sums,  # [S, chunks, parts, N', WIDTH]
    dipole_sums,  # [S, chunks, parts, N', WIDTH_V], with not MERGED; those of the first chunk are read
    table,  # [S, n + d, N']
    dr,  # [S, N, n]
    dv,  # [S, N, d]
    size,
    padded,
    parts,
    stride_sums_set,
    stride_dipole_sums_set,
    stride_table_set,
    stride_table,
    SCALE: tl.constexpr,  # of the positions in the tables
    n: tl.constexpr,
    d: tl.constexpr,
    MERGED: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_V: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradients of one block of particles of a set from the moments of their rows of a."""
    blocks = tl.cdiv(size, BLOCK)
    i_block, i_set = tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)
    sums += i_set * stride_sums_set
    dipole_sums += i_set * stride_dipole_sums_set
    table += i_set * stride_table_set
    dr += i_set * size * n
    dv += i_set * size * d
    o_particle = i_block * BLOCK + tl.arange(0, BLOCK)
    o_long = o_particle.to(tl.int64)
    m_particle = o_particle < size
    COUNT: tl.constexpr = d * (n + 1)
    for axis in tl.range(0, n):
        r = tl.load(table + axis * stride_table + o_particle)
        gradient = tl.zeros([BLOCK], tl.float32)
        for c in tl.range(0, d):
            v = tl.load(table + (n + c) * stride_table + o_particle)
            dipole_moment = moment(sums, c, COUNT, o_long, padded, parts, WIDTH)
            position_moment = moment(sums, d * (axis + 1) + c, COUNT, o_long, padded, parts, WIDTH)
            gradient += v * (r * dipole_moment - position_moment)
        tl.store(dr + o_long * n + axis, gradient * (2.0 / SCALE), mask=m_particle)
    for c in tl.range(0, d):
        if MERGED:
            # The moments of the Gaussian are those of -G k.
            gradient = -moment(sums, c, COUNT, o_long, padded, parts, WIDTH)
        else:
            gradient = moment(dipole_sums, c, d, o_long, padded, parts, WIDTH_V)
        tl.store(dv + o_long * d + c, gradient, mask=m_particle)
