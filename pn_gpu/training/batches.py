"""Where a training run gets its batches from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.model.examples import as_batch_targets, as_inputs, as_targets
from pn_gpu.model.model import Model

Array = Any


class ArrayBatches:
    """Batches of arrays that lie on the network's backend, in a new order every epoch.

    Parameters
    ----------
    network : Network
    x : array, [B, N]
    y : array, [B] or [B, M]
    batch_size : int
        The last batch of an epoch may be smaller.
    shuffle : bool
    part, num_parts : int
        Of every batch this process takes the rows ``part::num_parts`` (data-parallel training).
    """

    def __init__(
        self,
        network: Model,
        x: Array,
        y: Array,
        batch_size: int,
        shuffle: bool,
        part: int = 0,
        num_parts: int = 1,
    ) -> None:
        self._network = network
        self._x = as_inputs(x, network)
        if self._x.shape[0] == 0:
            raise ValueError("x: got no examples, want at least one")
        self._y = as_targets(y, self._x.shape[0], network)
        self._size, self._shuffle = batch_size, shuffle
        self._part, self._num_parts = part, num_parts
        self._rows: np.ndarray[Any, Any]
        self.num_examples: int | None = self._x.shape[0]

    def __len__(self) -> int:
        assert self.num_examples is not None
        return -(-self.num_examples // self._size)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Array, Array, int]]:
        """(x, targets, rows of the whole batch) of one epoch."""
        assert self.num_examples is not None
        order = rng.permutation(self.num_examples) if self._shuffle else np.arange(self.num_examples)
        for start in range(0, self.num_examples, self._size):
            self._rows = rows = order[start : start + self._size]
            yield (*self._take(rows[self._part :: self._num_parts]), len(rows))

    def last_inputs(self) -> Array:
        """The x of the batch yielded last, whole in every process."""
        return self._network.backend.xp.take(self._x, self._network.backend.asarray(self._rows), axis=0)

    def _take(self, rows: np.ndarray[Any, Any]) -> tuple[Array, Array]:
        network = self._network
        xp = network.backend.xp
        index = network.backend.asarray(rows)
        targets = as_batch_targets(xp.take(self._y, index, axis=0), network)
        return xp.take(self._x, index, axis=0), targets


class IterableBatches:
    """Batches that an iterable yields as (x [B, N], y) pairs, once through every epoch."""

    num_examples: int | None = None

    def __init__(self, network: Model, batches: Iterable[Any]) -> None:
        self._network = network
        self._batches = batches
        self._seen_any = False
        self._inputs: Array

    def __len__(self) -> int:
        if not isinstance(self._batches, Sized):
            raise ValueError(
                "x: got an iterable without a length, and the learning-rate schedule needs to know the number of steps;"
                " want one with len(), or a constant learning rate"
            )
        return len(self._batches)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Array, Array, int]]:
        """(x, targets, rows) of one pass over the iterable."""
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
            self._inputs = x
            yield x, as_batch_targets(y, network), x.shape[0]
        if empty:
            again = "; a generator can be gone through only once: give a list or a DataLoader" if self._seen_any else ""
            raise ValueError(f"x: the iterable yielded no examples in this epoch{again}")
        self._seen_any = True

    def last_inputs(self) -> Array:
        """The x of the batch yielded last."""
        return self._inputs


Batches = ArrayBatches | IterableBatches


def make_batches(
    network: Model, x: Any, y: Any, batch_size: int, shuffle: bool, part: int = 0, num_parts: int = 1
) -> Batches:
    """Batches of arrays x and y, or of an iterable x of (x, y) pairs."""
    if y is not None:
        return ArrayBatches(network, x, y, batch_size, shuffle, part, num_parts)
    if compat.is_array_api_obj(x) or not isinstance(x, Iterable):
        raise TypeError(
            f"y: got None with x of type {type(x).__name__}; want targets, or x an iterable of (x, y) batches"
        )
    if num_parts > 1:
        raise ValueError("x: got an iterable of batches; data-parallel training wants arrays x and y")
    return IterableBatches(network, x)
