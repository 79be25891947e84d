"""Dipoles of nodes with known places as a field: numbers at few places, interpolated at the nodes.

v_i = sum_g I_ig u_g with a matrix I that follows from the places alone. What is trained are the u_g, of which there
can be far fewer than nodes: neighbouring pixels have dipoles that are alike. dL/du_g = sum_i I_ig dL/dv_i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.interpolation import interpolation_matrix
from pn_gpu.model.fixed_positions import check_positions

Array = np.ndarray[Any, Any]


def check_dipole_places(dipole_places: Any, positions: Array | None) -> Array | None:
    """The places [G, n] of a field's numbers as float64 on the host; None where there is no field.

    Raises
    ------
    ValueError, TypeError
        If there are no positions beside them, or as of `check_positions`.
    """
    if dipole_places is None:
        return None
    if positions is None:
        raise ValueError("dipole_places: got some without positions, want positions= of the inputs beside them")
    return check_positions(dipole_places, dim=positions.shape[1], name="dipole_places")


def field_matrix(dipole_places: Array, positions: Array) -> Array:
    """I [N, G]: what the number at each place counts at each node; rows add up to 1."""
    return interpolation_matrix(dipole_places, positions)


def initial_length(matrix: Array) -> float:
    """Length of random vectors at the places for a field whose vectors at the nodes have a mean square length of 1."""
    return float((matrix**2).sum(axis=1).mean() ** -0.5)
