"""Particle networks: positions of ``dim`` and dipoles of ``dipole_dim`` components, and one bias for an output node."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, nn

from bench.compressed.family import NEGATIVE_SLOPE, Family, Shape, well_used

# The grids on which the inputs of some data sets lie, by their number: pixels of MNIST, samples of mnist1d.
GRIDS = {784: (28, 28), 40: (40,)}
# Half widths of the box of known places that a search tries, in widths of the Gaussian.
HALF_WIDTHS = (2, 3, 4)


class ParticleFamily(Family):
    """As many hidden particles as the budget allows; node sets shared (Eq. 5 of the paper) or of every layer's own."""

    def __init__(self, dim: int, dipole_dim: int, shared: bool) -> None:
        self.dim, self.dipole_dim, self.shared = dim, dipole_dim, shared
        self.name = f"particles {'shared ' if shared else ''}n={dim} d={dipole_dim}"

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        of_inputs, of_particle = self._numbers(num_in)
        hidden_sets = 1 if self.shared else 2
        return of_inputs * num_in + of_particle * (hidden_sets * shape.hidden + num_out) + shape.hidden + num_out

    def _numbers(self, num_in: int) -> tuple[int, int]:
        """Trained numbers of an input particle and of any other."""
        return self.dim + self.dipole_dim, self.dim + self.dipole_dim

    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        without, with_one = (self.parameters(num_in, num_out, Shape(hidden, 1)) for hidden in (0, 1))
        hidden = (budget - without) // (with_one - without)
        return well_used(self, self._shapes_of(hidden) if hidden > 0 else [], num_in, num_out, budget)

    def _shapes_of(self, hidden: int) -> list[Shape]:
        return [Shape(hidden, 1)]

    def make(self, num_in: int, num_out: int, shape: Shape, gain: float, generator: Generator) -> nn.Module:
        from pn_gpu.nn import ParticleMLP

        network = ParticleMLP(
            [num_in, shape.hidden, num_out],
            dipole_dim=self.dipole_dim,
            activation=lambda: nn.LeakyReLU(NEGATIVE_SLOPE),
            share_particles=self.shared,
            method="direct",
            generator=generator,
            **self._places(num_in, shape),
        )
        with torch.no_grad():
            for layer in network.layers:
                layer.out_particles.dipoles.mul_(gain)
        return network

    def _places(self, num_in: int, shape: Shape) -> dict[str, Any]:
        return {"dim": self.dim}

    def groups(self, network: nn.Module, rate: float) -> list[dict[str, Any]]:
        from pn_gpu.nn import parameter_groups

        return parameter_groups(network, rate)


class PlacedParticleFamily(ParticleFamily):
    """Inputs on a grid that is known, pixels of an image or samples of a signal: their positions are not trained.

    No numbers of the network, as the grid of a convolution is none; ``size`` is half the width of the grid.
    """

    def __init__(self, dipole_dim: int) -> None:
        super().__init__(0, dipole_dim, shared=False)
        self.name = f"particles with places d={dipole_dim}"

    def _numbers(self, num_in: int) -> tuple[int, int]:
        return self.dipole_dim, len(GRIDS[num_in]) + self.dipole_dim

    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        return super().shapes(num_in, num_out, budget) if num_in in GRIDS else []

    def _shapes_of(self, hidden: int) -> list[Shape]:
        return [Shape(hidden, half_width) for half_width in HALF_WIDTHS]

    def _places(self, num_in: int, shape: Shape) -> dict[str, Any]:
        from pn_gpu import grid_positions

        return {"positions": grid_positions(GRIDS[num_in], half_width=shape.size)}
