"""Numbers of parameters by the paper's formulas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def count_particle_parameters(
    sizes: Sequence[int], dim: int, dipole_dim: int | None = None, fixed_positions: bool = False
) -> int:
    """Eq. 5 for positions in R^n and dipoles in R^d (n if None), shared: (n + d) N_in,0 + (n + d + 1) sum_l N_out,l.

    Less n N_in,0 where the positions of the inputs are fixed.
    """
    each = dim + (dim if dipole_dim is None else dipole_dim)
    return (each - (dim if fixed_positions else 0)) * sizes[0] + (each + 1) * sum(sizes[1:])


def count_dense_parameters(sizes: Sequence[int]) -> int:
    """Eq. 6: sum_l (N_in,l + 1) N_out,l."""
    return sum((num_in + 1) * num_out for num_in, num_out in pairwise(sizes))
