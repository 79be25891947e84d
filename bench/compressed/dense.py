"""Stored weights: all of them, or those that are left when the smallest have been removed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn

from bench.compressed.family import WIDTHS, Family, Shape, he_std, normal, two_layers, well_used


class DenseLinear(nn.Module):
    """z = x W + b, or x (W * mask) + b where weights are to be removed."""

    mask: Any

    def __init__(self, num_in: int, num_out: int, gain: float, generator: Generator, masked: bool = False) -> None:
        super().__init__()
        self.weight = normal(num_in, num_out, std=he_std(num_in, gain), generator=generator)
        self.bias = normal(num_out, std=0.0, generator=generator)
        self.register_buffer("mask", torch.ones(num_in, num_out) if masked else None)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight if self.mask is None else self.weight * self.mask) + self.bias


class DenseFamily(Family):
    """All weights: as many hidden nodes as the budget allows."""

    name = "dense"
    masked = False

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        return (num_in + 1) * shape.hidden + (shape.hidden + 1) * num_out

    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        hidden = (budget - num_out) // (num_in + 1 + num_out)
        return well_used(self, [Shape(hidden, 1)] if hidden > 0 else [], num_in, num_out, budget)

    def make(self, num_in: int, num_out: int, shape: Shape, gain: float, generator: Generator) -> nn.Module:
        layers = [
            DenseLinear(*sizes, gain, generator, self.masked)
            for sizes in ((num_in, shape.hidden), (shape.hidden, num_out))
        ]
        return two_layers(*layers)


class PrunedFamily(DenseFamily):
    """A wide dense network whose smallest weights are removed in training until the budget is met.

    The number of weights falls by the cubic schedule of Zhu and Gupta (To prune, or not to prune, 2017), between a
    tenth and six tenths of the training; ``size`` is the number of weights that are left.
    """

    name = "pruned"
    masked = True
    start, end = 0.1, 0.6

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        return shape.size + shape.hidden + num_out

    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        found = [Shape(hidden, budget - hidden - num_out) for hidden in WIDTHS]
        fitting = [s for s in found if 0 < s.size < (num_in + num_out) * s.hidden]
        return well_used(self, fitting, num_in, num_out, budget)

    def after_step(self, network: nn.Module, shape: Shape, done: float, budget: int) -> None:
        layers = [layer for layer in network.modules() if isinstance(layer, DenseLinear)]
        total = sum(layer.weight.numel() for layer in layers)
        progress = min(max((done - self.start) / (self.end - self.start), 0.0), 1.0)
        keep = round(shape.size + (total - shape.size) * (1 - progress) ** 3)
        if keep == total or keep == sum(int(layer.mask.sum()) for layer in layers):
            return
        # Relative to the usual size of a weight of its layer: else the wide layer would lose all of its own.
        sizes = torch.cat([_relative(layer).flatten() for layer in layers])
        threshold = sizes.kthvalue(total - keep).values
        for layer in layers:
            layer.mask.copy_(_relative(layer) > threshold)


def _relative(layer: DenseLinear) -> Tensor:
    weight = layer.weight.detach() * layer.mask
    return weight.abs() * len(weight) ** 0.5
