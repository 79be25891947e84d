"""What a family of networks offers, and the families whose two layers are of one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
        Hidden nodes.
    size : int
        How rich each layer is, in the family's own unit (rank, blocks, ...).
    dipole_dim : int
        Components of the dipoles, of particles whose search chooses them; else 0.
    """

    hidden: int
    size: int
    dipole_dim: int = 0


class Family(ABC):
    """A way to make networks N-H-C of a given number of parameters."""

    name: str

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
    """Both layers of one kind and one size."""

    def __init__(self, name: str, linear: Linear) -> None:
        self.name, self.linear = name, linear

    def parameters(self, num_in: int, num_out: int, shape: Shape) -> int:
        return self.linear.count(num_in, shape.hidden, shape.size) + self.linear.count(
            shape.hidden, num_out, shape.size
        )

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
        layers = [
            self.linear(fan_in, fan_out, shape.size, gain, generator)
            for fan_in, fan_out in ((num_in, shape.hidden), (shape.hidden, num_out))
        ]
        return two_layers(*layers)


def well_used(family: Family, shapes: Sequence[Shape], num_in: int, num_out: int, budget: int) -> list[Shape]:
    """Those of ``shapes`` that use most of the budget and do not pass it."""
    return [s for s in shapes if LEAST_USE * budget <= family.parameters(num_in, num_out, s) <= budget]


def two_layers(first: nn.Module, second: nn.Module) -> nn.Sequential:
    """The two layers with the activation that all families share between them."""
    return nn.Sequential(first, nn.LeakyReLU(NEGATIVE_SLOPE), second)


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
