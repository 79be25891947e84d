"""The multilayer perceptron that Particle Networks are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pn_gpu.backends import Backend
from pn_gpu.model.layers import DenseLayer, Layer
from pn_gpu.networks.network import Network


class DenseNetwork(Network):
    """A network of stored weight matrices, with the methods of `ParticleNetwork`: the baseline of every comparison.

    Parameters
    ----------
    sizes, activation, output, loss, dropout, seed, backend, dtype
        As in `ParticleNetwork`. Weights and biases start Glorot-uniform.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `ParticleNetwork`.
    """

    kind = "dense"

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
        super().__init__(
            sizes,
            activation=activation,
            output=output,
            loss=loss,
            dropout=dropout,
            seed=seed,
            backend=backend,
            dtype=dtype,
        )
        self.connections = self._make_connections()
        rng = np.random.default_rng(self._seeds)
        values: dict[str, np.ndarray[Any, Any]] = {}
        for layer in self.connections:
            values |= layer.initialise(rng)
        self._set_parameters(values)

    def _make_connections(self) -> tuple[Layer, ...]:
        return tuple(
            DenseLayer(index, num_in, num_out, self._activations[index])
            for index, (num_in, num_out) in enumerate(pairwise(self.sizes))
        )

    def architecture(self) -> dict[str, Any]:
        return self._common_architecture()
