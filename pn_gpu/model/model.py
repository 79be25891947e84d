"""What a network is, as data: its levels, their connections, its parameters and its loss.

Passes, training and storage work on it; the `Network` classes above them add what a user does with a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pn_gpu.backends import Backend, get_backend
from pn_gpu.checks import check_choice, check_integer, check_number
from pn_gpu.model.activations import Activation, get_activation
from pn_gpu.model.layers import Layer
from pn_gpu.model.losses import DEFAULT_LOSS, Loss, get_loss
from pn_gpu.model.parameters import Layout, ParameterGroup, ParameterVector

Array = Any

DTYPES = ("float32", "float64")


class Model(ABC):
    """The data of a feed-forward network on one backend.

    Attributes
    ----------
    sizes : tuple of int
        Nodes at every level, inputs first.
    connections : tuple of Layer
        What connects one level to the next, in order, and computes it; the numbers are in ``parameters``.
    parameters : ParameterVector
        All parameters.
    loss : Loss
    dropout : float
        Probability with which a hidden activation is dropped in training.
    seed : int or None
        What the initial parameters were drawn with, and what training draws from where it is given no seed.
    backend : Backend
    dtype : str
    """

    kind: str

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "relu",
        output: str = "softmax",
        loss: str | None = None,
        dropout: float = 0.0,
        seed: int | None = None,
        backend: str | Backend = "auto",
        dtype: str = "float32",
    ) -> None:
        self.sizes = check_sizes(sizes)
        self._activations = _check_activations(activation, output, len(self.sizes) - 1)
        output_name = self._activations[-1].name
        self.loss: Loss = get_loss(DEFAULT_LOSS.get(output_name, "mse") if loss is None else loss)
        if self.has_classes and self.sizes[-1] == 1:
            raise ValueError(
                f"output: got {output!r} with loss {self.loss.name!r} and a single output, which is always 1; want"
                " output='sigmoid' (yes or no), output='linear' (a number), or an output for every class"
            )
        self.dropout = check_number("dropout", dropout, low=0, high=1, high_open=True)
        self.backend = get_backend(backend)
        self.dtype = check_choice("dtype", dtype, DTYPES)
        self.seed = None if seed is None else check_integer("seed", seed, low=0)
        self._seeds = np.random.SeedSequence(self.seed)
        self.connections: tuple[Layer, ...] = ()
        self.parameters: ParameterVector

    def next_generator(self) -> np.random.Generator:
        """Random numbers for the next training run: they follow from ``seed`` and differ from run to run."""
        return np.random.default_rng(self._seeds.spawn(1)[0])

    @abstractmethod
    def _make_connections(self) -> tuple[Layer, ...]:
        """The connections of the levels."""

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """Keyword arguments, of what a file can hold, that build this network again (without its parameters)."""

    @classmethod
    def complete_architecture(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """The architecture in a file of any age as `architecture` gives it today."""
        return dict(saved)

    def prepare_training(self, x: Array, weights: Array | None = None) -> None:  # noqa: B027 - most need nothing
        """Called before the first step of a fresh run, with inputs [B, N] and weights [B] of the first batch."""

    def scale_outputs(self, layer: int, factor: float) -> None:
        """Multiply the weights of a layer, and so z without its bias, by ``factor``."""
        raise NotImplementedError

    def parameter_sizes(self) -> dict[str, float]:
        """The size of those parameters that training shall move in proportion to it, by name; none by default."""
        return {}

    def _common_architecture(self) -> dict[str, Any]:
        return {
            "sizes": list(self.sizes),
            "activation": [activation.name for activation in self._activations[:-1]],
            "output": self._activations[-1].name,
            "loss": self.loss.name,
            "dropout": self.dropout,
        }

    def _set_parameters(
        self, values: dict[str, np.ndarray[Any, Any]], fixed: Mapping[str, np.ndarray[Any, Any]] | None = None
    ) -> None:
        """Lay out the given values as the network's vector; ``fixed`` are kept beside it."""
        layout = Layout({name: value.shape for name, value in values.items()})
        flat = np.concatenate([value.ravel() for value in values.values()])
        beside = {name: self.backend.asarray(value.astype(self.dtype)) for name, value in (fixed or {}).items()}
        self.parameters = ParameterVector(layout, self.backend.asarray(flat.astype(self.dtype)), beside)

    @property
    def layers(self) -> list[ParameterGroup]:
        """The layers' own parameters: ``layers[k].bias`` [M]."""
        return self.parameters.layers

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained: all that the network is made of (Eq. 5 and 6 of the paper), less fixed ones."""
        return self.parameters.layout.size

    @property
    def is_classifier(self) -> bool:
        """Whether the outputs stand for classes, so that labels and an accuracy make sense."""
        return self.has_classes or self.loss.logits_activation == "sigmoid"

    @property
    def has_classes(self) -> bool:
        """Whether every output is a class and an example belongs to one: softmax, or categorical cross-entropy."""
        return "softmax" in (self._activations[-1].name, self.loss.logits_activation)

    def metadata(self) -> dict[str, Any]:
        """What a file says of the network beside its parameters."""
        return {"kind": self.kind, "dtype": self.dtype, "architecture": self.architecture()}


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """The nodes at every level, at least two of them and a node each; ValueError or TypeError otherwise."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence) or len(sizes) < 2:
        raise ValueError(f"sizes: got {sizes!r}, want at least two numbers of nodes, such as [784, 128, 10]")
    return tuple(check_integer(f"sizes[{index}]", size, low=1) for index, size in enumerate(sizes))


def _check_activations(activation: str | Sequence[str], output: str, num_layers: int) -> list[Activation]:
    if isinstance(activation, str):
        names = [activation] * (num_layers - 1)
    else:
        names = list(activation)
    if len(names) != num_layers - 1:
        raise ValueError(
            f"activation: got {len(names)} names, want one or {num_layers - 1}, one for each hidden layer"
            " (the last layer's is output)"
        )
    return [get_activation(name) for name in names] + [get_activation(output, "output")]
