"""Where a training run gets its batches from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple

import numpy as np

from pn_gpu.model.examples import as_batch_targets, as_inputs, as_targets
from pn_gpu.model.model import Model
from pn_gpu.training.weighted_examples import Examples

Array = Any


class Batch(NamedTuple):
    """This process's part of a batch of ``num_rows``: x [B, N], targets [B, M] and weights [B]."""

    x: Array
    targets: Array
    weights: Array | None
    num_rows: int


class ArrayBatches:
    """Batches of arrays that lie on the network's backend, in a new order every epoch.

    Parameters
    ----------
    network : Network
    examples : Examples
    batch_size : int
        The last batch of an epoch may be smaller.
    shuffle : bool
    part, num_parts : int
        Of every batch this process takes the rows ``part::num_parts`` (data-parallel training).
    """

    def __init__(
        self,
        network: Model,
        examples: Examples,
        batch_size: int,
        shuffle: bool,
        part: int = 0,
        num_parts: int = 1,
    ) -> None:
        self._network = network
        self._examples = examples
        self._size, self._shuffle = batch_size, shuffle
        self._part, self._num_parts = part, num_parts
        self._rows: np.ndarray[Any, Any]
        self.num_examples: int | None = examples.x.shape[0]

    def __len__(self) -> int:
        assert self.num_examples is not None
        return -(-self.num_examples // self._size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one epoch."""
        assert self.num_examples is not None
        order = rng.permutation(self.num_examples) if self._shuffle else np.arange(self.num_examples)
        for start in range(0, self.num_examples, self._size):
            self._rows = rows = order[start : start + self._size]
            part = self._examples.take(rows[self._part :: self._num_parts], self._network)
            yield Batch(part.x, as_batch_targets(part.y, self._network), part.weights, len(rows))

    def last_examples(self) -> Examples:
        """The batch yielded last, whole in every process."""
        return self._examples.take(self._rows, self._network)

    def fingerprint(self) -> str | None:
        """What tells these examples from others."""
        return self._examples.fingerprint()


class IterableBatches:
    """Batches that an iterable yields as (x [B, N], y) pairs, once through every epoch."""

    num_examples: int | None = None

    def __init__(self, network: Model, batches: Iterable[Any]) -> None:
        self._network = network
        self._batches = batches
        self._seen_any = False
        self._last: Examples

    def __len__(self) -> int:
        if not isinstance(self._batches, Sized):
            raise ValueError(
                "x: got an iterable without a length, and the learning-rate schedule needs to know the number of steps;"
                " want one with len(), or a constant learning rate"
            )
        return len(self._batches)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one pass over the iterable."""
        network = self._network
        empty = True
        for batch in self._batches:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise TypeError(f"x: got a batch of type {type(batch).__name__}, want (x, y) pairs")
            x = as_inputs(batch[0], network)
            y = as_targets(batch[1], x.shape[0], network)
            if x.shape[0] == 0:
                continue
            empty = False
            self._last = Examples(x, y, None)
            yield Batch(x, as_batch_targets(y, network), None, x.shape[0])
        if empty:
            again = "; a generator can be gone through only once: give a list or a DataLoader" if self._seen_any else ""
            raise ValueError(f"x: the iterable yielded no examples in this epoch{again}")
        self._seen_any = True

    def last_examples(self) -> Examples:
        """The batch yielded last."""
        return self._last

    def fingerprint(self) -> str | None:
        """Nothing is known of the examples before they come."""
        return None


Batches = ArrayBatches | IterableBatches
