"""What every network can do: forward, loss and gradient, prediction, training, saving.

Written once against the array API standard, so NumPy, CuPy and torch arrays run the same code.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, TypeVar

import array_api_compat as compat
import numpy as np

from pn_gpu.backends import Backend, get_backend, to_numpy
from pn_gpu.checks import check_choice, check_integer
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.examples import as_batch_targets, as_inputs, as_targets, batch_slices
from pn_gpu.model.model import DTYPES, Model
from pn_gpu.model.parameters import ParameterVector
from pn_gpu.networks.summary import summarise
from pn_gpu.storage import write_file
from pn_gpu.training.fit import fit
from pn_gpu.training.history import History
from pn_gpu.training.metrics import evaluate
from pn_gpu.training.passes import batch_gradient, forward_pass
from pn_gpu.training.weighted_examples import as_examples

if TYPE_CHECKING:
    from pn_gpu.data.preprocessing import Preprocessing

Array = Any
AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class Network(Model):
    """A `Model` and what is done with it.

    Attributes
    ----------
    preprocessing : Preprocessing or None
        What was done to the data that the network was trained on, saved with it: ``preprocessing.inputs.encode`` makes
        its inputs of other data, and ``preprocessing.targets.decode`` labels or units of what it predicts; both is
        done by `pn_gpu.data.predict`. None by default; ``pn-gpu train`` sets it, and ``network.preprocessing =
        dataset.preprocessing`` does. The methods of a network take and give numbers as they are.
    """

    preprocessing: Preprocessing | None = None

    def metadata(self) -> dict[str, Any]:
        """What a file says of the network beside its parameters."""
        metadata = super().metadata()
        return metadata if self.preprocessing is None else metadata | {"preprocessing": self.preprocessing.to_json()}

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"{type(self).__name__}({shape}, {self.num_parameters} parameters, {self.dtype} on {self.backend.name})"

    def summary(self) -> str:
        """Node sets and layers with their parameters, and those of dense layers beside them, as a text to print."""
        return summarise(self)

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
        return self._like(forward_pass(self, as_inputs(x, self))[-1].y, x)

    def predict_proba(self, x: Array, batch_size: int = 1024) -> Array:
        """The output activations [B, M], a batch at a time: probabilities, for a softmax or sigmoid output.

        Parameters
        ----------
        x : array, [B, N]
        batch_size : int, default 1024
            Rows taken at once; bounds the memory for activations.
        """
        size = check_integer("batch_size", batch_size, low=1)
        inputs = as_inputs(x, self)
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

    def evaluate(self, x: Array, y: Array, batch_size: int = 1024, sample_weight: Array = None) -> dict[str, float]:
        """The mean loss over all examples and, of a classifier, the accuracy (0 to 1).

        Parameters
        ----------
        x : array, [B, N]
        y : array
            Labels [B] (whole numbers) or targets [B, M].
        batch_size : int, default 1024
        sample_weight : array [B], optional
            How much every example counts, at least 0, in the loss and in the accuracy; only ratios matter.

        Returns
        -------
        dict
            ``{"loss": ..., "accuracy": ...}``; no accuracy for a regression.

        Raises
        ------
        ValueError, TypeError
            If shapes, dtypes, labels or weights do not fit, or there is no example.
        """
        size = check_integer("batch_size", batch_size, low=1)
        return evaluate(self, *as_examples(self, x, y, sample_weight), batch_size=size)

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
        inputs = as_inputs(x, self)
        targets = as_targets(y, inputs.shape[0], self)
        if inputs.shape[0] == 0:
            raise ValueError("x: got no examples, want at least one")
        loss, gradient, _ = batch_gradient(self, inputs, as_batch_targets(targets, self))
        return float(loss), gradient

    def fit(self, x: Array, y: Array | None = None, **options: Any) -> History:
        """Train the network; see `pn_gpu.training.fit.fit` for all options.

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
        return fit(self, x, y, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to a safetensors file, whole or not at all.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        """
        write_file(path, self.parameters.to_numpy(), self.metadata())

    def to(self: AnyNetwork, backend: str | Backend | None = None, dtype: str | None = None) -> AnyNetwork:
        """A copy of the network on another backend or in another dtype.

        Parameters
        ----------
        backend : str or Backend, optional
            Default: where it is.
        dtype : {"float32", "float64"}, optional
        """
        other = copy.copy(self)
        other._seeds = copy.deepcopy(self._seeds)
        other.backend = self.backend if backend is None else get_backend(backend)
        other.dtype = self.dtype if dtype is None else check_choice("dtype", dtype, DTYPES)
        other.connections = other._make_connections()
        # astype copies
        flat = to_numpy(self.parameters.flat).astype(other.dtype)
        fixed = {name: to_numpy(value).astype(other.dtype) for name, value in self.parameters.fixed.items()}
        other.parameters = ParameterVector(
            self.parameters.layout,
            other.backend.asarray(flat),
            {name: other.backend.asarray(value) for name, value in fixed.items()},
        )
        return other

    def copy(self: AnyNetwork) -> AnyNetwork:
        """An independent copy on the same backend."""
        return self.to()

    def _like(self, result: Array, given: Array) -> Array:
        """``result`` in the library of what the user gave."""
        if not compat.is_array_api_obj(given) or isinstance(given, np.ndarray):
            return to_numpy(result)
        given_xp = namespace_of(given)
        if given_xp is self.backend.xp:
            return result
        return given_xp.asarray(to_numpy(result), device=given.device)
