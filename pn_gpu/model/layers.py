"""Layers: what connects one level of nodes to the next, z = x W + b.

A layer object describes the connection; the parameters come from the network's vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.room import How
from pn_gpu.model.activations import Activation
from pn_gpu.model.node_models import NodeModel, glorot_uniform
from pn_gpu.model.parameters import ParameterVector
from pn_gpu.operator import particle_linear, particle_linear_vjp
from pn_gpu.planning import MethodPlanner

Array = Any


class PullBack(Protocol):
    """Takes a gradient back through one call of a layer."""

    def __call__(self, dz: Array, gradient: ParameterVector, need_dx: bool) -> Array | None:
        """Add the parameters' gradients to ``gradient`` and return dL/dx [B, num_in] if it is needed."""


@dataclass(frozen=True)
class Layer(ABC):
    """One layer of a network.

    Attributes
    ----------
    index : int
        Its place in the network, from 0.
    num_in, num_out : int
        Nodes on its two sides.
    activation : Activation
    """

    index: int
    num_in: int
    num_out: int
    activation: Activation

    @property
    def prefix(self) -> str:
        """The group of its own parameters."""
        return f"layers.{self.index}"

    def initialise(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Fresh values of the layer's own parameters; biases are Glorot-uniform."""
        bias = glorot_uniform(rng, (self.num_out,), self.num_in, self.num_out)
        return {f"{self.prefix}.bias": bias}

    def forget_plan(self) -> None:  # noqa: B027 - most layers have no plan
        """Plan anew at the next forward: the parameters were replaced, or an epoch begins."""

    def how(self, batch: int, parameters: ParameterVector) -> How | None:
        """How a batch of so many rows is computed now; None where there is but one way."""
        return None

    @abstractmethod
    def forward(self, x: Array, parameters: ParameterVector, how: How | None = None) -> Array:
        """z [B, num_out] for x [B, num_in]; computed as `how` says, which is asked where None is given."""

    @abstractmethod
    def vjp(self, x: Array, parameters: ParameterVector, how: How | None = None) -> tuple[Array, PullBack]:
        """`forward`, and the way back of a gradient."""


@dataclass(frozen=True)
class ParticleLayer(Layer):
    """A layer between two node sets; how it is computed, directly or by the Mehler method, is planned as they move.

    Attributes
    ----------
    input_set, output_set : int
        Which node sets of the network it connects.
    input_model, output_model : NodeModel
        What their particles carry.
    potential, method, rtol
        As `pn_gpu.particle_linear` takes them.
    planner : MethodPlanner
        Keeps the plan from call to call.
    """

    input_set: int
    output_set: int
    input_model: NodeModel
    output_model: NodeModel
    potential: str
    method: str
    rtol: float
    planner: MethodPlanner = field(compare=False, repr=False)

    def forget_plan(self) -> None:
        self.planner.reset()

    def particles(self, parameters: ParameterVector) -> tuple[Array, Array, Array, Array]:
        """r_in [N, n], v_in [N, d], r_out [M, n] and v_out [M, d] as the operator takes them."""
        inputs, outputs = (
            parameters.group(f"particles.{self.input_set}"),
            parameters.group(f"particles.{self.output_set}"),
        )
        return (
            inputs.positions,
            self.input_model.dipoles(inputs, as_output=False),
            outputs.positions,
            self.output_model.dipoles(outputs, as_output=True),
        )

    def how(self, batch: int, parameters: ParameterVector) -> How:
        return self._plan(batch, self.particles(parameters))

    def _plan(self, batch: int, particles: tuple[Array, Array, Array, Array]) -> How:
        return self.planner.plan(batch, *particles).how(self.planner.potential)

    def forward(self, x: Array, parameters: ParameterVector, how: How | None = None) -> Array:
        particles, bias = self.particles(parameters), parameters[f"{self.prefix}.bias"]
        return particle_linear(x, *particles, bias, self.potential, how or self._plan(x.shape[0], particles))

    def vjp(self, x: Array, parameters: ParameterVector, how: How | None = None) -> tuple[Array, PullBack]:
        particles, bias = self.particles(parameters), parameters[f"{self.prefix}.bias"]
        how = how or self._plan(x.shape[0], particles)
        z, operator_pull_back = particle_linear_vjp(x, *particles, bias, self.potential, how)

        def pull_back(dz: Array, gradient: ParameterVector, need_dx: bool) -> Array | None:
            g = operator_pull_back(dz, need_dx)
            for index, model, dr, dv, as_output in (
                (self.input_set, self.input_model, g.dr_in, g.dv_in, False),
                (self.output_set, self.output_model, g.dr_out, g.dv_out, True),
            ):
                name = f"particles.{index}"
                model.add_gradient(gradient.group(name), parameters.group(name), dr, dv, as_output)
            gradient.add(f"{self.prefix}.bias", g.dbias)
            return g.dx

        return z, pull_back


@dataclass(frozen=True)
class DenseLayer(Layer):
    """A layer with a stored weight matrix [num_in, num_out], Glorot-uniform at the start."""

    def initialise(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        weight = glorot_uniform(rng, (self.num_in, self.num_out), self.num_in, self.num_out)
        return {f"{self.prefix}.weight": weight} | super().initialise(rng)

    def forward(self, x: Array, parameters: ParameterVector, how: How | None = None) -> Array:
        return x @ parameters[f"{self.prefix}.weight"] + parameters[f"{self.prefix}.bias"]

    def vjp(self, x: Array, parameters: ParameterVector, how: How | None = None) -> tuple[Array, PullBack]:
        xp = namespace_of(x)

        def pull_back(dz: Array, gradient: ParameterVector, need_dx: bool) -> Array | None:
            gradient.add(f"{self.prefix}.weight", xp.matrix_transpose(x) @ dz)
            gradient.add(f"{self.prefix}.bias", xp.sum(dz, axis=0))
            return dz @ xp.matrix_transpose(parameters[f"{self.prefix}.weight"]) if need_dx else None

        return self.forward(x, parameters), pull_back
