"""Inverted dropout of hidden activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.model.model import Model


def dropout_masks(network: Model, batch: int, rng: np.random.Generator | None) -> list[Any]:
    """A factor [batch, M] for every layer's activations, 0 or 1 / (1 - p); None where nothing is dropped.

    The masks are drawn on the host, so that one seed drops the same activations on every backend.
    """
    num_layers = len(network.connections)
    if rng is None or network.dropout == 0:
        return [None] * num_layers
    keep = 1 - network.dropout
    masks: list[Any] = [
        network.backend.asarray(((rng.random((batch, width), np.float32) < keep) / keep).astype(network.dtype))
        for width in network.sizes[1:-1]
    ]
    return [*masks, None]
