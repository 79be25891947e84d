"""w_ij = 1 / |p_i - p_j|: weights from the positions of nodes alone (Erb et al., arXiv 2506.13410, 2025).

Every layer of nodes lies in its own hyperplane, at distance 1 from the next, and a node has a sign between -1 and 1 by
which its output is multiplied.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from bench.compressed.family import Family, Shape, normal, two_layers, well_used


class DistanceLinear(nn.Module):
    """z = sum_i x_i m_i / |p_i - p_j| / sqrt(N) + b, with m = tanh of a parameter of the input node."""

    def __init__(self, inputs: nn.Parameter, outputs: nn.Parameter, gain: float, generator: Generator) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.inhibition = normal(len(inputs), std=1.0, generator=generator)
        self.bias = normal(len(outputs), std=0.0, generator=generator)
        self.scale = gain * (2 / len(inputs)) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        square = torch.cdist(self.inputs, self.outputs, compute_mode="donot_use_mm_for_euclid_dist").square()
        weight = (1 + square).rsqrt()  # the hyperplanes are 1 apart
        return (x * torch.tanh(self.inhibition)) @ weight * self.scale + self.bias


class DistanceFamily(Family):
    """Positions in a hyperplane of ``size`` dimensions; an inhibition and a bias for every node that needs one."""

    name = "1 / distance"

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        hidden, dim, _ = shape
        return dim * (num_in + hidden + num_out) + (num_in + hidden) + (hidden + num_out)

    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        found = []
        for dim in (1, 2, 3, 4, 5, 8):
            left = budget - self.parameters(num_in, num_out, Shape(0, dim))
            found.append(Shape(left // (dim + 2), dim))
        return well_used(self, [shape for shape in found if shape.hidden > 0], num_in, num_out, budget)

    def make(self, num_in: int, num_out: int, shape: Shape, gain: float, generator: Generator) -> nn.Module:
        nodes = [normal(num, shape.size, std=1.0, generator=generator) for num in (num_in, shape.hidden, num_out)]
        return two_layers(
            DistanceLinear(nodes[0], nodes[1], gain, generator), DistanceLinear(nodes[1], nodes[2], gain, generator)
        )
