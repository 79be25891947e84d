"""What a family of networks offers, and the families whose layers are all of one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from torch import Generator, Tensor, nn

# Widths that a search tries, where the budget leaves a choice.
WIDTHS = (16, 32, 64, 128, 256, 512)
# A network that uses less of its budget than this is no rival at it.
LEAST_USE = 0.8
NEGATIVE_SLOPE = 0.01


class Shape(NamedTuple):
    """What a network of a family is made of.

    Attributes
    ----------
    hidden : int
        Nodes of every hidden layer.
    size : int
        How rich each layer is, in the family's own unit (rank, blocks, ...).
    """

    hidden: int
    size: int


class Family(ABC):
    """A way to make networks N-H-C, or N-H-H-C with a ``depth`` of 2, of a given number of parameters."""

    name: str
    depth: int = 1

    def nodes(self, num_in: int, num_out: int, shape: Shape) -> list[int]:
        """Nodes at every level."""
        return [num_in, *[shape.hidden] * self.depth, num_out]

    @abstractmethod
    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        """Trained numbers of a network, biases included."""

    @abstractmethod
    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        """The networks of at most ``budget`` parameters that use most of it; none where there is none."""

    @abstractmethod
    def make(self, num_in: int, num_out: int, shape: Shape, gain: float, generator: Generator) -> nn.Module:
        """A network that gives logits; ``gain`` multiplies its usual start."""

    def groups(self, network: nn.Module, rate: float) -> list[dict[str, Any]]:
        """What an optimiser is to move, and at which rates."""
        return [{"params": list(network.parameters()), "lr": rate}]

    def after_step(self, network: nn.Module, shape: Shape, done: float, budget: int) -> None:  # noqa: B027
        """What has to be done after a step, with the share ``done`` of the training behind it."""


class Linear(Protocol):
    """A linear layer of a family: an nn.Module made by ``Linear(num_in, num_out, size, gain, generator)``."""

    def __call__(self, num_in: int, num_out: int, size: int, gain: float, generator: Generator) -> nn.Module: ...

    @staticmethod
    def count(num_in: int, num_out: int, size: int) -> int:
        """Parameters of a layer, its bias included."""


class LayerFamily(Family):
    """All layers of one kind and one size."""

    def __init__(self, name: str, linear: Linear, depth: int = 1) -> None:
        self.name, self.linear, self.depth = deep_name(name, depth), linear, depth

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        return sum(self.linear.count(*pair, shape.size) for pair in pairwise(self.nodes(num_in, num_out, shape)))

    def shapes(self, num_in: int, num_out: int, budget: int) -> list[Shape]:
        found = [self._largest(num_in, num_out, hidden, budget) for hidden in WIDTHS]
        return well_used(self, [shape for shape in found if shape is not None], num_in, num_out, budget)

    def _largest(self, num_in: int, num_out: int, hidden: int, budget: int) -> Shape | None:
        """The richest layers that the budget allows."""
        low, high = 0, budget  # every kind takes at least one number for a unit of size
        while low < high:
            middle = (low + high + 1) // 2
            if self.parameters(num_in, num_out, Shape(hidden, middle)) <= budget:
                low = middle
            else:
                high = middle - 1
        return Shape(hidden, low) if low else None

    def make(self, num_in: int, num_out: int, shape: Shape, gain: float, generator: Generator) -> nn.Module:
        pairs = pairwise(self.nodes(num_in, num_out, shape))
        return network_of([self.linear(*pair, shape.size, gain, generator) for pair in pairs])


def deep_name(name: str, depth: int) -> str:
    """What a family is called that has ``depth`` hidden layers."""
    return name if depth == 1 else f"{name} ({depth} hidden)"


def well_used(family: Family, shapes: Sequence[Shape], num_in: int, num_out: int, budget: int) -> list[Shape]:
    """Those of ``shapes`` that use most of the budget and do not pass it."""
    return [s for s in shapes if LEAST_USE * budget <= family.parameters(num_in, num_out, s) <= budget]


def network_of(layers: Sequence[nn.Module]) -> nn.Sequential:
    """The layers with the activation that all families share between them."""
    first, *others = layers
    return nn.Sequential(first, *(part for layer in others for part in (nn.LeakyReLU(NEGATIVE_SLOPE), layer)))


def normal(*shape: int, std: float, generator: Generator) -> nn.Parameter:
    """A parameter drawn from N(0, std^2)."""
    import torch

    return nn.Parameter(std * torch.randn(*shape, generator=generator))


def he_std(num_in: int, gain: float) -> float:
    """Deviation of a weight that keeps the scale through a rectifier (He et al., 2015)."""
    return gain * (2 / num_in) ** 0.5


class WeightLinear(nn.Module):
    """A layer that makes its weight matrix [N, M] at every call; subclasses say how."""

    def __init__(self, num_out: int) -> None:
        import torch

        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_out))

    def weight(self) -> Tensor:
        """W [N, M]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight() + self.bias
