"""One tile of pairwise quantities between two node sets, made in registers.

A node set lies in a particle table: n rows of positions, then d rows of dipoles, one column a particle (see
`tables`). Up to `UNROLLED` components are kept in registers as a tuple of vectors; the components of larger n or d are
read one after the other in a loop.
"""

import triton
import triton.language as tl

UNROLLED = tl.constexpr(8)


@triton.jit
def load_components(table, o_particle, stride_table, COUNT: tl.constexpr):
    """COUNT rows of the table as a tuple of vectors; an empty tuple where they are too many to keep."""
    components = ()
    if COUNT <= UNROLLED:
        for c in tl.static_range(COUNT):
            components = components + (tl.load(table + c * stride_table + o_particle),)  # noqa: RUF005
    return components


@triton.jit
def squared_distances(rows, r_rows, o_rows, columns, r_columns, o_columns, stride_table, n: tl.constexpr):
    """|r_i - r_j|^2 from exact differences: [BR, BC].

    ``rows`` and ``columns`` point at the positions of the two particle tables; ``r_rows`` and ``r_columns`` are what
    `load_components` made of them at the particles ``o_rows`` and ``o_columns``.
    """
    s = tl.zeros([o_rows.shape[0], o_columns.shape[0]], rows.dtype.element_ty)
    if n <= UNROLLED:
        for c in tl.static_range(n):
            difference = r_rows[c][:, None] - r_columns[c][None, :]
            s += difference * difference
    else:
        for c in tl.range(0, n):
            offset = c * stride_table
            difference = tl.load(rows + offset + o_rows)[:, None] - tl.load(columns + offset + o_columns)[None, :]
            s += difference * difference
    return s


@triton.jit
def dipole_products(rows, v_rows, o_rows, columns, v_columns, o_columns, stride_table, d: tl.constexpr):
    """v_i . v_j: [BR, BC]; arguments as of `squared_distances`, at the dipoles of the tables."""
    if d <= UNROLLED:
        q = v_rows[0][:, None] * v_columns[0][None, :]
        for c in tl.static_range(1, d):
            q += v_rows[c][:, None] * v_columns[c][None, :]
    else:
        q = tl.zeros([o_rows.shape[0], o_columns.shape[0]], rows.dtype.element_ty)
        for c in tl.range(0, d):
            offset = c * stride_table
            q += tl.load(rows + offset + o_rows)[:, None] * tl.load(columns + offset + o_columns)[None, :]
    return q
