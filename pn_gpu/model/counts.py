"""Numbers of parameters by the paper's formulas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def count_particle_parameters(sizes: Sequence[int], dim: int) -> int:
    """Eq. 5, shared particles of the dipole model: 2 n N_in,0 + (2 n + 1) sum_l N_out,l."""
    return 2 * dim * sizes[0] + (2 * dim + 1) * sum(sizes[1:])


def count_dense_parameters(sizes: Sequence[int]) -> int:
    """Eq. 6: sum_l (N_in,l + 1) N_out,l."""
    return sum((num_in + 1) * num_out for num_in, num_out in pairwise(sizes))
