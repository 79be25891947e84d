"""Terms added to the loss in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from pn_gpu.checks import check_integer, check_number
from pn_gpu.model.model import Model
from pn_gpu.model.parameters import ParameterVector
from pn_gpu.operator import particle_linear, particle_linear_backward

Array = Any


class Penalty(ABC):
    """A term of the loss that depends on the parameters alone.

    Attributes
    ----------
    replayable : bool, default False
        Whether `add` depends on nothing but the parameters and the penalty's own attributes, and reads no number back
        from the device: only then a CUDA graph may replay it.
    """

    replayable = False

    def check(self, network: Model) -> None:  # noqa: B027 - most fit every network
        """ValueError if the network has not what the term depends on; called before training."""

    @abstractmethod
    def add(self, network: Model, gradient: ParameterVector) -> Array:
        """Add the term's gradient to ``gradient`` and return its value, a scalar array."""


class L2(Penalty):
    """Half the sum of squares of some parameters, times a strength each.

    Parameters
    ----------
    dipoles : float, default 0
        Strength >= 0 for dipole vectors (those at `dipole_places`, of a field; charges, in the charge-phase model).
    biases : float, default 0
        Strength >= 0 for biases.
    weights : float, default 0
        Strength >= 0 for the stored weights of a `DenseNetwork`.

    Raises
    ------
    ValueError, TypeError
        If a strength is negative or not finite.
    """

    replayable = True

    def __init__(self, dipoles: float = 0.0, biases: float = 0.0, weights: float = 0.0) -> None:
        self.strengths = {
            "dipoles": check_number("dipoles", dipoles, low=0),
            "dipole_values": float(dipoles),
            "charges": float(dipoles),
            "bias": check_number("biases", biases, low=0),
            "weight": check_number("weights", weights, low=0),
        }

    def add(self, network: Model, gradient: ParameterVector) -> Array:
        xp = network.backend.xp
        total = network.backend.zeros((), network.dtype)
        for name, value in network.parameters.items():
            strength = self.strengths.get(name.rpartition(".")[2], 0.0)
            if strength:
                total = total + 0.5 * strength * xp.sum(value * value)
                gradient.add(name, strength * value)
        return total


class Repulsion(Penalty):
    """The mean of exp(-|r_i - r_j|^2) over the pairs i < j of every node set, times a strength: keeps particles apart.

    It is computed by the operator itself, with all dipoles 1, so it takes O(N) memory too.

    Parameters
    ----------
    strength : float
        At least 0.
    node_sets : sequence of int, optional
        Which of ``network.particles``; all by default. Positions that are fixed cannot be among them.

    Raises
    ------
    ValueError, TypeError
        If the strength is negative or not finite, or a node set is no whole number of at least 0. From `fit`: if the
        network has no such node set, or its positions are fixed.
    """

    replayable = True

    def __init__(self, strength: float, node_sets: Sequence[int] | None = None) -> None:
        self.strength = check_number("strength", strength, low=0)
        self.node_sets = (
            None if node_sets is None else tuple(check_integer("node_sets", index, low=0) for index in node_sets)
        )

    def check(self, network: Model) -> None:
        count = len(network.parameters.particles)
        for index in self._chosen(network):
            if index >= count:
                raise ValueError(f"Repulsion: got node set {index}, want those of the network: 0 to {count - 1}")
            if f"particles.{index}.positions" in network.parameters.fixed:
                others = [other for other in range(count) if other != index]
                raise ValueError(
                    f"Repulsion: got node set {index}, whose positions are fixed; want Repulsion({self.strength:g},"
                    f" node_sets={others}) or fewer"
                )

    def _chosen(self, network: Model) -> Sequence[int]:
        return range(len(network.parameters.particles)) if self.node_sets is None else self.node_sets

    def add(self, network: Model, gradient: ParameterVector) -> Array:
        xp = network.backend.xp
        total = network.backend.zeros((), network.dtype)
        groups = network.parameters.particles
        for index in self._chosen(network):
            r = groups[index].positions
            num = r.shape[0]
            if num < 2 or self.strength == 0:
                continue
            scale = self.strength / (num * (num - 1))
            ones = xp.ones_like(r[:, :1])  # [N, 1]
            row = xp.reshape(ones, (1, num))
            sums = particle_linear(row, r, ones, r, ones, method="direct")  # [1, N], each with its own k(0) = 1
            total = total + scale * xp.sum(sums - 1)
            g = particle_linear_backward(scale * row, row, r, ones, r, ones, method="direct", need_dx=False)
            gradient.add(f"particles.{index}.positions", g.dr_in)
            gradient.add(f"particles.{index}.positions", g.dr_out)
        return total
