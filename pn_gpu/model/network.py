"""What every network of layers can do: forward, loss and gradient, prediction, training, saving.

Written once against the array API standard, so NumPy, CuPy and torch arrays run the same code.
"""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import array_api_compat as compat
import numpy as np

from pn_gpu.backends import Backend, get_backend, to_numpy
from pn_gpu.checks import check_choice, check_integer, check_number
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.activations import Activation, get_activation
from pn_gpu.model.examples import as_batch_targets, batch_slices, check_inputs, check_targets
from pn_gpu.model.layers import Layer
from pn_gpu.model.losses import DEFAULT_LOSS, Loss, get_loss
from pn_gpu.model.parameters import Layout, ParameterGroup, ParameterVector
from pn_gpu.model.passes import batch_gradient, forward_pass, output_loss

if TYPE_CHECKING:
    from pn_gpu.data.preprocessing import Preprocessing
    from pn_gpu.training.history import History

Array = Any
AnyNetwork = TypeVar("AnyNetwork", bound="Network")

DTYPES = ("float32", "float64")


class Network(ABC):
    """A feed-forward network on one backend.

    Attributes
    ----------
    sizes : tuple of int
        Nodes at every level, inputs first.
    layers_in_order : tuple of Layer
        How the levels are connected.
    parameters : ParameterVector
        All parameters.
    loss : Loss
    dropout : float
        Probability with which a hidden activation is dropped in training.
    backend : Backend
    dtype : str
    preprocessing : Preprocessing or None
        What was done to the data that the network was trained on, saved with it: ``preprocessing.inputs.encode`` makes
        its inputs of other data, and ``preprocessing.targets.decode`` labels or units of what it predicts. None by
        default; ``pn-gpu train`` sets it, and ``network.preprocessing = dataset.preprocessing`` does. The methods of a
        network take and give numbers as they are.
    """

    kind: str
    preprocessing: Preprocessing | None = None

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "relu",
        output: str = "softmax",
        loss: str | None = None,
        dropout: float = 0.0,
        backend: str | Backend = "auto",
        dtype: str = "float32",
    ) -> None:
        self.sizes = _check_sizes(sizes)
        self._activations = _check_activations(activation, output, len(self.sizes) - 1)
        output_name = self._activations[-1].name
        self.loss: Loss = get_loss(DEFAULT_LOSS.get(output_name, "mse") if loss is None else loss)
        self.dropout = check_number("dropout", dropout, low=0, high=1, high_open=True)
        self.backend = get_backend(backend)
        self.dtype = check_choice("dtype", dtype, DTYPES)
        self.layers_in_order: tuple[Layer, ...] = ()
        self.parameters: ParameterVector

    @abstractmethod
    def _make_layers(self) -> tuple[Layer, ...]:
        """The connections of the levels."""

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """Keyword arguments, JSON-able, that build this network again (without its numbers)."""

    def _common_architecture(self) -> dict[str, Any]:
        return {
            "sizes": list(self.sizes),
            "activation": [activation.name for activation in self._activations[:-1]],
            "output": self._activations[-1].name,
            "loss": self.loss.name,
            "dropout": self.dropout,
        }

    def _set_parameters(self, values: dict[str, np.ndarray[Any, Any]]) -> None:
        """Lay out the given values as the network's vector."""
        layout = Layout({name: value.shape for name, value in values.items()})
        flat = np.concatenate([value.ravel() for value in values.values()])
        self.parameters = ParameterVector(layout, self.backend.asarray(flat.astype(self.dtype)))

    @property
    def layers(self) -> list[ParameterGroup]:
        """The layers' own parameters: ``layers[k].bias`` [M]."""
        return self.parameters.layers

    @property
    def num_parameters(self) -> int:
        """How many numbers the network is made of (Eq. 5 and 6 of the paper)."""
        return self.parameters.layout.size

    @property
    def is_classifier(self) -> bool:
        """Whether the outputs stand for classes, so that labels and an accuracy make sense."""
        return self.has_classes or self.loss.logits_activation == "sigmoid"

    @property
    def has_classes(self) -> bool:
        """Whether every output is a class and an example belongs to one: softmax, or categorical cross-entropy."""
        return "softmax" in (self._activations[-1].name, self.loss.logits_activation)

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"{type(self).__name__}({shape}, {self.num_parameters} parameters, {self.dtype} on {self.backend.name})"

    def forward(self, x: Array) -> Array:
        """The output activations [B, M] for inputs [B, N].

        Parameters
        ----------
        x : array, [B, N]
            Of any library; the result is of the same one.

        Raises
        ------
        ValueError, TypeError
            If ``x`` has another width than the network, no floating or integer dtype, or is not finite.
        """
        return self._like(forward_pass(self, self._as_input(x))[-1].y, x)

    def predict_proba(self, x: Array, batch_size: int = 1024) -> Array:
        """The output activations [B, M], a batch at a time: probabilities, for a softmax or sigmoid output.

        Parameters
        ----------
        x : array, [B, N]
        batch_size : int, default 1024
            Rows taken at once; bounds the memory for activations.
        """
        size = check_integer("batch_size", batch_size, low=1)
        inputs = self._as_input(x)
        batches = [forward_pass(self, inputs[rows, ...])[-1].y for rows in batch_slices(inputs.shape[0], size)]
        xp = self.backend.xp
        result = xp.concat(batches, axis=0) if batches else self.backend.zeros((0, self.sizes[-1]), self.dtype)
        return self._like(result, x)

    def predict(self, x: Array, batch_size: int = 1024) -> Array:
        """What the network says of every example, by its outputs and loss.

        Class labels [B] for a softmax output or categorical cross-entropy; 0 or 1 for every output [B, M] with binary
        cross-entropy; else the outputs [B, M] themselves.

        Parameters
        ----------
        x, batch_size
            As in `predict_proba`.
        """
        y = self.predict_proba(x, batch_size)
        xp = namespace_of(y)
        if self.has_classes:
            return xp.argmax(y, axis=-1)
        return xp.astype(y > 0.5, xp.int64) if self.is_classifier else y

    def evaluate(self, x: Array, y: Array, batch_size: int = 1024) -> dict[str, float]:
        """The mean loss over all examples and, of a classifier, the accuracy (0 to 1).

        Parameters
        ----------
        x : array, [B, N]
        y : array
            Labels [B] (whole numbers) or targets [B, M].
        batch_size : int, default 1024

        Returns
        -------
        dict
            ``{"loss": ..., "accuracy": ...}``; no accuracy for a regression.

        Raises
        ------
        ValueError, TypeError
            If shapes, dtypes or labels do not fit the network, or there is no example.
        """
        from pn_gpu.training.metrics import Accumulator

        size = check_integer("batch_size", batch_size, low=1)
        inputs = self._as_input(x)
        targets = self._as_targets(y, inputs.shape[0])
        if inputs.shape[0] == 0:
            raise ValueError("x: got no examples, want at least one")
        metrics = Accumulator(self)
        for rows in batch_slices(inputs.shape[0], size):
            batch = as_batch_targets(targets[rows, ...], self)
            output = forward_pass(self, inputs[rows, ...])[-1]
            metrics.add(output_loss(self, output, batch), output.y, batch)
        return metrics.result()

    def loss_and_gradient(self, x: Array, y: Array) -> tuple[float, ParameterVector]:
        """The mean loss over a batch and its gradient under the parameters' names.

        Parameters
        ----------
        x : array, [B, N]
        y : array
            Labels [B] or targets [B, M].

        Returns
        -------
        loss : float
        gradient : ParameterVector
            ``gradient.particles[k].positions``, ``gradient.layers[k].bias``, ... and ``gradient.flat``.

        Raises
        ------
        ValueError, TypeError
            As `evaluate`.
        """
        inputs = self._as_input(x)
        targets = self._as_targets(y, inputs.shape[0])
        if inputs.shape[0] == 0:
            raise ValueError("x: got no examples, want at least one")
        loss, gradient, _ = batch_gradient(self, inputs, as_batch_targets(targets, self))
        return float(loss), gradient

    def fit(self, x: Array, y: Array | None = None, **options: Any) -> History:
        """Train the network; see `pn_gpu.training.fit` for all options.

        Parameters
        ----------
        x : array [B, N], or an iterable of (x, y) batches
        y : array, optional
            Labels [B] or targets [B, M]; None with an iterable.
        **options
            ``epochs``, ``batch_size``, ``optimizer``, ``validation_data``, ``callbacks``, ``checkpoint``, ``resume``,
            ``seed``, ``progress``, ...

        Returns
        -------
        History
        """
        from pn_gpu.training.loop import fit

        return fit(self, x, y, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to a safetensors file, whole or not at all.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        """
        from pn_gpu.storage import save_network

        save_network(self, path)

    def to(self: AnyNetwork, backend: str | Backend | None = None, dtype: str | None = None) -> AnyNetwork:
        """A copy of the network on another backend or in another dtype.

        Parameters
        ----------
        backend : str or Backend, optional
            Default: where it is.
        dtype : {"float32", "float64"}, optional
        """
        other = copy.copy(self)
        other.backend = self.backend if backend is None else get_backend(backend)
        other.dtype = self.dtype if dtype is None else check_choice("dtype", dtype, DTYPES)
        other.layers_in_order = other._make_layers()
        flat = to_numpy(self.parameters.flat).astype(other.dtype)  # astype copies
        other.parameters = ParameterVector(self.parameters.layout, other.backend.asarray(flat))
        return other

    def copy(self: AnyNetwork) -> AnyNetwork:
        """An independent copy on the same backend."""
        return self.to()

    def _as_input(self, x: Array) -> Array:
        return self.backend.asarray(check_inputs(x, self.sizes[0], self.dtype), self.dtype)

    def _as_targets(self, y: Array, count: int) -> Array:
        return self.backend.asarray(check_targets(y, count, self))

    def _like(self, result: Array, given: Array) -> Array:
        """``result`` in the library of what the user gave."""
        if not compat.is_array_api_obj(given) or isinstance(given, np.ndarray):
            return to_numpy(result)
        given_xp = namespace_of(given)
        if given_xp is self.backend.xp:
            return result
        return given_xp.asarray(to_numpy(result), device=given.device)


def _check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
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
