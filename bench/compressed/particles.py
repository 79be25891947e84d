"""Particle networks: positions of ``dim`` and dipoles of ``dipole_dim`` components, and one bias for an output node."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, nn

from bench.compressed.family import NEGATIVE_SLOPE, Family, Shape, well_used


class ParticleFamily(Family):
    """Shared node sets, as many hidden particles as the budget allows (Eq. 5 of the paper)."""

    def __init__(self, dim: int, dipole_dim: int) -> None:
        self.dim, self.dipole_dim = dim, dipole_dim
        self.name = f"particles n={dim} d={dipole_dim}"

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        each = self.dim + self.dipole_dim
        return each * num_in + (each + 1) * (shape.hidden + num_out)

    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        left = budget - self.parameters(num_in, num_out, Shape(0, 1))
        hidden = left // (self.dim + self.dipole_dim + 1)
        return well_used(self, [Shape(hidden, 1)] if hidden > 0 else [], num_in, num_out, budget)

    def make(self, num_in: int, num_out: int, shape: Shape, gain: float, generator: Generator) -> nn.Module:
        from pn_gpu.nn import ParticleMLP

        network = ParticleMLP(
            [num_in, shape.hidden, num_out],
            dim=self.dim,
            dipole_dim=self.dipole_dim,
            activation=lambda: nn.LeakyReLU(NEGATIVE_SLOPE),
            method="direct",
            generator=generator,
        )
        with torch.no_grad():
            for particles in network.particles[1:]:
                particles.dipoles.mul_(gain)
        return network

    def groups(self, network: nn.Module, rate: float) -> list[dict[str, Any]]:
        from pn_gpu.nn import parameter_groups

        return parameter_groups(network, rate)
