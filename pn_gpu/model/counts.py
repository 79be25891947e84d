"""Numbers of parameters by the paper's formulas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def count_particle_parameters(
    sizes: Sequence[int],
    dim: int,
    dipole_dim: int | None = None,
    fixed_positions: bool = False,
    num_dipole_places: int | None = None,
) -> int:
    """Eq. 5 for positions in R^n and dipoles in R^d (n if None), shared: (n + d) N_in,0 + (n + d + 1) sum_l N_out,l.

    Less n N_in,0 where the positions of the inputs are fixed; d for each of the places that their dipoles are
    interpolated between, in the stead of each input, where there are some.
    """
    num_dipole = dim if dipole_dim is None else dipole_dim
    of_inputs = num_dipole * (sizes[0] if num_dipole_places is None else num_dipole_places)
    of_positions = 0 if fixed_positions else dim * sizes[0]
    return of_positions + of_inputs + (dim + num_dipole + 1) * sum(sizes[1:])


def count_dense_parameters(sizes: Sequence[int]) -> int:
    """Eq. 6: sum_l (N_in,l + 1) N_out,l."""
    return sum((num_in + 1) * num_out for num_in, num_out in pairwise(sizes))
