"""Particle networks: positions of ``dim`` and dipoles of ``dipole_dim`` components, and one bias for an output node."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, nn

from bench.compressed.family import NEGATIVE_SLOPE, Family, Shape, well_used

# The grids on which the inputs of some data sets lie, by their number: pixels of MNIST and digits, samples of mnist1d.
GRIDS = {784: (28, 28), 64: (8, 8), 40: (40,)}
# Half widths of the box of known places that a search tries, in widths of the Gaussian.
HALF_WIDTHS = (2, 3, 4)
# What a search tries of a field of dipoles: places along each axis of its grid, by the number of inputs; components.
FIELD_GRIDS = {784: (7, 10, 14), 64: (3, 4, 5), 40: (10, 14, 20)}
FIELD_DIPOLE_DIMS = (4, 8, 16, 32)
FIELD_HALF_WIDTH = 3


class ParticleFamily(Family):
    """As many hidden particles as the budget allows; node sets shared (Eq. 5 of the paper) or of every layer's own."""

    fewest, most = 1.0, math.inf

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
        found = [self._widest(num_in, num_out, kind, budget) for kind in self._kinds(num_in)]
        fitting = [shape for shape in found if self.fewest <= shape.hidden <= self.most]
        return well_used(self, fitting, num_in, num_out, budget)

    def _kinds(self, num_in: int) -> list[Shape]:
        """What a search tries beside the width, which follows from the budget."""
        return [Shape(0, 1)]

    def _widest(self, num_in: int, num_out: int, kind: Shape, budget: int) -> Shape:
        without, with_one = (self.parameters(num_in, num_out, kind._replace(hidden=hidden)) for hidden in (0, 1))
        return kind._replace(hidden=(budget - without) // (with_one - without))

    def make(self, num_in: int, num_out: int, shape: Shape, gain: float, generator: Generator) -> nn.Module:
        from pn_gpu.nn import ParticleMLP

        network = ParticleMLP(
            [num_in, shape.hidden, num_out],
            activation=lambda: nn.LeakyReLU(NEGATIVE_SLOPE),
            share_particles=self.shared,
            method="direct",
            generator=generator,
            **self._particles(num_in, shape),
        )
        with torch.no_grad():
            for layer in network.layers:
                layer.out_particles.dipoles.mul_(gain)
        return network

    def _particles(self, num_in: int, shape: Shape) -> dict[str, Any]:
        """Options of `ParticleMLP`."""
        return {"dim": self.dim, "dipole_dim": self.dipole_dim}

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

    def _kinds(self, num_in: int) -> list[Shape]:
        return [Shape(0, half_width) for half_width in HALF_WIDTHS] if num_in in GRIDS else []

    def _particles(self, num_in: int, shape: Shape) -> dict[str, Any]:
        from pn_gpu import grid_positions

        positions = grid_positions(GRIDS[num_in], half_width=shape.size)
        return {"positions": positions, "dipole_dim": self.dipole_dim}


class FieldParticleFamily(ParticleFamily):
    """Inputs on a known grid whose dipoles are interpolated between the places of a coarser one: a field of dipoles.

    A search chooses the coarse grid, of ``size`` places along each axis, and the components of the dipoles.
    """

    # Fewer hidden particles are no network to speak of, more take long.
    fewest, most = 16, 1000

    def __init__(self) -> None:
        super().__init__(0, 0, shared=False)
        self.name = "particles with a field"

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        dim = len(GRIDS[num_in])
        of_particle = dim + shape.dipole_dim
        of_field = shape.dipole_dim * shape.size**dim
        return of_field + of_particle * (2 * shape.hidden + num_out) + shape.hidden + num_out

    def _kinds(self, num_in: int) -> list[Shape]:
        return [Shape(0, grid, d) for grid in FIELD_GRIDS.get(num_in, ()) for d in FIELD_DIPOLE_DIMS]

    def _particles(self, num_in: int, shape: Shape) -> dict[str, Any]:
        from pn_gpu import grid_positions

        shapes = GRIDS[num_in], (shape.size,) * len(GRIDS[num_in])
        positions, dipole_places = (grid_positions(counts, half_width=FIELD_HALF_WIDTH) for counts in shapes)
        return {"positions": positions, "dipole_places": dipole_places, "dipole_dim": shape.dipole_dim}
