"""Parametrisations of a node set: what a particle carries, and the (r, v) the operator is given for it.

The dipole model is the paper's main one, w_ij = (v_i . v_j) k(s_ij). The charge-phase model (its Appendix) is
w_ij = q_j cos(theta_i - theta_j) k(s_ij): the same operator with v_i = (cos theta_i, sin theta_i) on the input side
and v_j = q_j (cos theta_j, sin theta_j) on the output side. A set that is only ever an input has no charge.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from pn_gpu.checks import check_choice, check_integer
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.initialisation import INITIAL_SPREAD
from pn_gpu.model.parameters import ParameterGroup

Array = Any


class NodeModel(ABC):
    """How a node set's parameters make positions and dipoles.

    Attributes
    ----------
    name : str
    size_parameter : str
        The parameter whose size on the output side sets the size of the weights.
    passes_size : bool
        Whether that parameter also acts where a shared set is the input of the next layer.
    """

    name: str
    size_parameter: str
    passes_size: bool

    @abstractmethod
    def check_dipole_dim(self, dipole_dim: int | None, dim: int) -> int:
        """The dimensions d of the dipoles that a user's ``dipole_dim`` stands for; ValueError if they cannot be."""

    @abstractmethod
    def shapes(self, num: int, dim: int, dipole_dim: int, is_output: bool) -> dict[str, tuple[int, ...]]:
        """Parameter names and shapes of a set of ``num`` particles."""

    @abstractmethod
    def initialise(
        self, rng: np.random.Generator, num: int, dim: int, dipole_dim: int, is_output: bool
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Fresh parameters, positions drawn from N(0, 0.5^2)."""

    @abstractmethod
    def dipoles(self, nodes: ParameterGroup, as_output: bool) -> Array:
        """The v [N, d] that the operator is given."""

    @abstractmethod
    def add_gradient(
        self, gradient: ParameterGroup, nodes: ParameterGroup, dr: Array, dv: Array, as_output: bool
    ) -> None:
        """Pass dL/dr [N, n] and dL/dv [N, d] on to the parameters; fixed positions take none."""


def _add_to_positions(gradient: ParameterGroup, dr: Array) -> None:
    if "positions" in gradient:
        gradient.add("positions", dr)


class DipoleModel(NodeModel):
    """Positions and free dipole vectors; the dipoles start at unit length."""

    name = "dipole"
    size_parameter = "dipoles"
    passes_size = True

    def check_dipole_dim(self, dipole_dim: int | None, dim: int) -> int:
        return dim if dipole_dim is None else check_integer("dipole_dim", dipole_dim, low=1)

    def shapes(self, num: int, dim: int, dipole_dim: int, is_output: bool) -> dict[str, tuple[int, ...]]:
        return {"positions": (num, dim), "dipoles": (num, dipole_dim)}

    def initialise(
        self, rng: np.random.Generator, num: int, dim: int, dipole_dim: int, is_output: bool
    ) -> dict[str, np.ndarray[Any, Any]]:
        positions = INITIAL_SPREAD * rng.standard_normal((num, dim))
        dipoles = INITIAL_SPREAD * rng.standard_normal((num, dipole_dim))
        return {"positions": positions, "dipoles": dipoles / np.linalg.norm(dipoles, axis=1, keepdims=True)}

    def dipoles(self, nodes: ParameterGroup, as_output: bool) -> Array:
        return nodes.dipoles

    def add_gradient(
        self, gradient: ParameterGroup, nodes: ParameterGroup, dr: Array, dv: Array, as_output: bool
    ) -> None:
        _add_to_positions(gradient, dr)
        gradient.add("dipoles", dv)


class ChargePhaseModel(NodeModel):
    """Positions, a phase each, and a charge for output particles; phases start uniform, charges from N(0, 1)."""

    name = "charge_phase"
    size_parameter = "charges"
    passes_size = False

    def check_dipole_dim(self, dipole_dim: int | None, dim: int) -> int:
        if dipole_dim is not None and check_integer("dipole_dim", dipole_dim, low=1) != 2:
            raise ValueError(f"dipole_dim: got {dipole_dim}, want 2 with model 'charge_phase', whose phases are angles")
        return 2

    def shapes(self, num: int, dim: int, dipole_dim: int, is_output: bool) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"positions": (num, dim), "phases": (num,)}
        return shapes | {"charges": (num,)} if is_output else shapes

    def initialise(
        self, rng: np.random.Generator, num: int, dim: int, dipole_dim: int, is_output: bool
    ) -> dict[str, np.ndarray[Any, Any]]:
        values = {
            "positions": INITIAL_SPREAD * rng.standard_normal((num, dim)),
            "phases": rng.uniform(0, 2 * math.pi, num),
        }
        return values | {"charges": rng.standard_normal(num)} if is_output else values

    def _direction(self, nodes: ParameterGroup) -> Array:
        """(cos theta, sin theta) [N, 2]."""
        xp = namespace_of(nodes.phases)
        return xp.stack([xp.cos(nodes.phases), xp.sin(nodes.phases)], axis=1)

    def dipoles(self, nodes: ParameterGroup, as_output: bool) -> Array:
        direction = self._direction(nodes)
        return nodes.charges[:, None] * direction if as_output else direction

    def add_gradient(
        self, gradient: ParameterGroup, nodes: ParameterGroup, dr: Array, dv: Array, as_output: bool
    ) -> None:
        xp = namespace_of(dv)
        direction = self._direction(nodes)
        along = xp.sum(dv * direction, axis=1)
        across = dv[:, 1] * direction[:, 0] - dv[:, 0] * direction[:, 1]  # dL/dtheta at unit charge
        _add_to_positions(gradient, dr)
        if as_output:
            gradient.add("charges", along)
            across = nodes.charges * across
        gradient.add("phases", across)


NODE_MODELS: dict[str, NodeModel] = {model.name: model for model in (DipoleModel(), ChargePhaseModel())}


def get_node_model(name: str) -> NodeModel:
    """The node model called ``name``; ValueError if there is none."""
    return NODE_MODELS[check_choice("model", name, NODE_MODELS)]


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], num_in: int, num_out: int) -> np.ndarray[Any, Any]:
    """Uniform numbers within +-sqrt(6 / (num_in + num_out)) (Glorot and Bengio, 2010)."""
    limit = math.sqrt(6 / max(num_in + num_out, 1))
    return rng.uniform(-limit, limit, shape)
