"""Loss and accuracy summed over batches, on the backend until somebody reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.model.examples import as_batch_targets, batch_slices
from pn_gpu.model.model import Model
from pn_gpu.training.distributed import SingleProcess
from pn_gpu.training.passes import forward_pass, output_loss

Array = Any


class Accumulator:
    """Means over examples, weighted where they have weights, of the loss and, for a classifier, of right answers."""

    def __init__(self, network: Model) -> None:
        self._network = network
        self._loss: Array = 0.0
        self._correct: Array = 0.0
        self.count = 0

    def add(self, loss: Array, correct: Array, size: int) -> None:
        """Add a batch of ``size`` examples: its mean loss and its `correct_answers`."""
        self._loss = self._loss + loss * size
        if self._network.is_classifier:
            self._correct = self._correct + correct
        self.count += size

    def result(self, processes: SingleProcess | None = None) -> dict[str, float]:
        """``{"loss": ..., "accuracy": ...}`` over all processes; no accuracy for a regression."""
        sums = np.array([float(self._loss), float(self._correct), self.count])
        loss, correct, count = (processes or SingleProcess()).sum(sums)
        means = {"loss": float(loss / count)}
        return means | {"accuracy": float(correct / count)} if self._network.is_classifier else means


def correct_answers(network: Model, outputs: Array, targets: Array, weights: Array | None = None) -> Array:
    """How many of the outputs [B, M] say what the targets [B, M] do, by weights [B] if any; 0 for a regression."""
    if not network.is_classifier:
        return 0.0
    xp = network.backend.xp
    if network.has_classes:
        right = xp.astype(xp.argmax(outputs, axis=-1) == xp.argmax(targets, axis=-1), outputs.dtype)
    else:
        right = xp.mean(xp.astype((outputs > 0.5) == (targets > 0.5), outputs.dtype), axis=-1)
    return xp.sum(right if weights is None else right * weights)


def evaluate(
    network: Model, inputs: Array, targets: Array, weights: Array | None = None, batch_size: int = 1024
) -> dict[str, float]:
    """What `Accumulator.result` says of checked examples on the network's backend, a batch at a time."""
    metrics = Accumulator(network)
    for rows in batch_slices(inputs.shape[0], batch_size):
        batch = as_batch_targets(targets[rows, ...], network)
        output = forward_pass(network, inputs[rows, ...])[-1]
        some = None if weights is None else weights[rows]
        correct = correct_answers(network, output.y, batch, some)
        metrics.add(output_loss(network, output, batch, some), correct, batch.shape[0])
    return metrics.result()
