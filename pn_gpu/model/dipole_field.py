"""Dipoles of nodes with known places as a field: numbers at few places, interpolated at the nodes.

v_i = sum_g I_ig u_g with a matrix I that follows from the places alone. What is trained are the u_g, of which there
can be far fewer than nodes: neighbouring pixels have dipoles that are alike. dL/du_g = sum_i I_ig dL/dv_i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.backends import Backend, to_numpy
from pn_gpu.interpolation import interpolation_matrix
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.fixed_positions import check_positions
from pn_gpu.model.node_models import DipoleModel
from pn_gpu.model.parameters import ParameterGroup

Array = Any


def check_dipole_places(dipole_places: Any, positions: Array | None) -> np.ndarray[Any, Any] | None:
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


def field_matrix(dipole_places: Array, positions: Array) -> np.ndarray[Any, Any]:
    """I [N, G]: what the number at each place counts at each node; rows add up to 1."""
    return interpolation_matrix(dipole_places, positions)


def initial_length(matrix: np.ndarray[Any, Any]) -> float:
    """Length of random vectors at the places for a field whose vectors at the nodes have a mean square length of 1."""
    return float((matrix**2).sum(axis=1).mean() ** -0.5)


class DipoleFieldModel(DipoleModel):
    """Inputs at fixed ``positions`` [N, n] with ``dipole_values`` [G, d] at fixed ``dipole_places`` [G, n].

    Parameters
    ----------
    backend : Backend
        Where the network lives, and so I.
    """

    size_parameter = "dipole_values"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._made_of: tuple[Array, Array] | None = None
        self._made: Array = None

    def shapes(self, num: int, dim: int, dipole_dim: int, is_output: bool) -> dict[str, tuple[int, ...]]:
        return {"dipole_values": (num, dipole_dim)}

    def initialise(
        self, rng: np.random.Generator, num: int, dim: int, dipole_dim: int, is_output: bool
    ) -> dict[str, np.ndarray[Any, Any]]:
        return {"dipole_values": super().initialise(rng, num, dim, dipole_dim, is_output)["dipoles"]}

    def dipoles(self, nodes: ParameterGroup, as_output: bool) -> Array:
        return self._matrix(nodes) @ nodes.dipole_values

    def add_gradient(
        self, gradient: ParameterGroup, nodes: ParameterGroup, dr: Array, dv: Array, as_output: bool
    ) -> None:
        gradient.add("dipole_values", namespace_of(dv).matrix_transpose(self._matrix(nodes)) @ dv)

    def _matrix(self, nodes: ParameterGroup) -> Array:
        """I, made when it is first needed, and anew where the places were replaced."""
        positions, places = nodes.positions, nodes.dipole_places
        if self._made_of is None or self._made_of[0] is not positions or self._made_of[1] is not places:
            matrix = field_matrix(to_numpy(places), to_numpy(positions)).astype(to_numpy(places).dtype)
            self._made, self._made_of = self._backend.asarray(matrix), (positions, places)
        return self._made
