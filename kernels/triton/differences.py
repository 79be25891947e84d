"""Particle gradients from the exact differences r_i - r_j.

    dr_i = 2 sum_j G_ij c_ij k'_ij (r_i - r_j)      dv_i = sum_j G_ij k_ij v_j

summed over the rows and the columns of each tile on the CUDA cores. Slower than `moments`, and right where moments are
not: to full float32 and float64, and for potentials whose k' is singular at s = 0 (there (r_i - r_j) must vanish
before the sum). Chunks, slabs and determinism are those of `moments`.
"""

import triton
import triton.language as tl

from pn_gpu.kernels.triton.outer_product import outer_product, rows_from
from pn_gpu.kernels.triton.weights import UNROLLED, dipole_products, load_components, squared_distances


@triton.jit
def add_to_slab(slab, o_particle, value, m_later):
    """slab[o_particle] += value; what the slab held before the first visit is not read."""
    tl.store(slab + o_particle, value + tl.load(slab + o_particle, mask=m_later, other=0.0))


@triton.jit
def add_position_sums(pull, table_in, table_out, sums_in, sums_out, o_in, o_out, m_later_in, m_later_out):
    """Add one component of pull_ij (r_i - r_j) to the slabs of both sides."""
    force = pull * (tl.load(table_in + o_in)[:, None] - tl.load(table_out + o_out)[None, :])  # [BI, BJ]
    add_to_slab(sums_in, o_in, tl.sum(force, axis=1), m_later_in)
    add_to_slab(sums_out, o_out, tl.sum(force, axis=0) * -1.0, m_later_out)


@triton.jit
def add_dipole_sums(gk, table_in, table_out, sums_in, sums_out, o_in, o_out, m_later_in, m_later_out):
    """Add one component of gk_ij v_j, and of gk_ij v_i, to the slabs of both sides."""
    add_to_slab(sums_in, o_in, tl.sum(gk * tl.load(table_out + o_out)[None, :], axis=1), m_later_in)
    add_to_slab(sums_out, o_out, tl.sum(gk * tl.load(table_in + o_in)[:, None], axis=0), m_later_out)


@triton.jit
def difference_kernel(
    x,  # [S, B, N]
    x_low,
    dz,  # [S, B, M]
    dz_low,
    table_in,  # [S, n + d, N']
    table_out,  # [S, n + d, M']
    sums_in,  # [S, out_chunks * batch_parts, n + d, N']
    sums_out,  # [S, in_chunks * batch_parts, n + d, M']
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
    n: tl.constexpr,
    d: tl.constexpr,
    VALUE: tl.constexpr,
    DERIVATIVE: tl.constexpr,
    ROWS_FAR_APART: tl.constexpr,  # a step of BK rows passes 2^31 elements
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BI: tl.constexpr,
    BJ: tl.constexpr,
    BK: tl.constexpr,
):
    """Sums of a chunk of tiles [BI, BJ] of a set; the positions in the tables are scaled, and so are the sums."""
    i_part, i_set = tl.program_id(0) // sets, tl.program_id(0) % sets
    i_in, i_out = tl.program_id(1), tl.program_id(2)
    x, x_low, dz, dz_low, batch = rows_from(
        x, x_low, dz, dz_low, batch, i_set, stride_x_set, stride_dz_set, stride_x, stride_dz,
        i_part * rows_of_part, rows_of_part,
    )  # fmt: skip
    i_set = i_set.to(tl.int64)
    table_in += i_set * stride_table_set
    table_out += i_set * stride_table_set
    o_in, o_out = tl.arange(0, BI), tl.arange(0, BJ)
    sums_in += ((i_set * tl.num_programs(2) + i_out) * batch_parts + i_part) * (n + d) * padded_in
    sums_out += ((i_set * tl.num_programs(1) + i_in) * batch_parts + i_part) * (n + d) * padded_out
    first_in, first_out = i_in * tiles_in * BI, i_out * tiles_out * BJ
    end_in = tl.minimum(first_in + tiles_in * BI, size_in)
    end_out = tl.minimum(first_out + tiles_out * BJ, size_out)
    for i in tl.range(first_in, end_in, BI, num_stages=1):
        rows, v_rows = table_in + i, table_in + i + n * stride_table
        r_in = load_components(rows, o_in, stride_table, n)
        v_in = load_components(v_rows, o_in, stride_table, d)
        for j in tl.range(first_out, end_out, BJ, num_stages=1):
            columns, v_columns = table_out + j, table_out + j + n * stride_table
            g = outer_product(
                x + i, x_low + i, dz + j, dz_low + j, batch, size_in - i, size_out - j, stride_x, stride_dz,
                ROWS_FAR_APART, SPLIT, PRECISION, BI, BJ, BK,
            )  # fmt: skip
            r_out = load_components(columns, o_out, stride_table, n)
            v_out = load_components(v_columns, o_out, stride_table, d)
            s = squared_distances(rows, r_in, o_in, columns, r_out, o_out, stride_table, n)
            q = dipole_products(v_rows, v_in, o_in, v_columns, v_out, o_out, stride_table, d)
            pull = g * q * DERIVATIVE(s)
            gk = g * VALUE(s)
            slab_in, slab_out = sums_in + i, sums_out + j
            m_later_in, m_later_out = j > first_out, i > first_in
            if n <= UNROLLED:
                for c in tl.static_range(n):
                    add_position_sums(
                        pull, rows + c * stride_table, columns + c * stride_table,
                        slab_in + c * padded_in, slab_out + c * padded_out, o_in, o_out, m_later_in, m_later_out,
                    )  # fmt: skip
            else:
                for c in tl.range(0, n):
                    add_position_sums(
                        pull, rows + c * stride_table, columns + c * stride_table,
                        slab_in + c * padded_in, slab_out + c * padded_out, o_in, o_out, m_later_in, m_later_out,
                    )  # fmt: skip
            slab_in += n * padded_in
            slab_out += n * padded_out
            if d <= UNROLLED:
                for c in tl.static_range(d):
                    add_dipole_sums(
                        gk, v_rows + c * stride_table, v_columns + c * stride_table,
                        slab_in + c * padded_in, slab_out + c * padded_out, o_in, o_out, m_later_in, m_later_out,
                    )  # fmt: skip
            else:
                for c in tl.range(0, d):
                    add_dipole_sums(
                        gk, v_rows + c * stride_table, v_columns + c * stride_table,
                        slab_in + c * padded_in, slab_out + c * padded_out, o_in, o_out, m_later_in, m_later_out,
                    )  # fmt: skip
            # The next tile reads what this one wrote to the slabs.
            tl.debug_barrier()
