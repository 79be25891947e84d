"""Where a training run gets its batches from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any

import array_api_compat as compat
import numpy as np

from pn_gpu.model.examples import as_batch_targets, check_inputs, check_targets

if TYPE_CHECKING:
    from pn_gpu.model.network import Network

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
        network: Network,
        x: Array,
        y: Array,
        batch_size: int,
        shuffle: bool,
        part: int = 0,
        num_parts: int = 1,
    ) -> None:
        checked = check_inputs(x, network.sizes[0], network.dtype)
        if checked.shape[0] == 0:
            raise ValueError("x: got no examples, want at least one")
        targets = check_targets(y, checked.shape[0], network)
        self._network = network
        self._x = network.backend.asarray(checked, network.dtype)
        self._y = network.backend.asarray(targets)
        self._size, self._shuffle = batch_size, shuffle
        self._part, self._num_parts = part, num_parts
        self.num_examples: int | None = checked.shape[0]

    def __len__(self) -> int:
        assert self.num_examples is not None
        return -(-self.num_examples // self._size)

    def first_inputs(self, rng: np.random.Generator) -> Array:
        """The x of the first batch of an epoch that begins with this random state, whole in every process."""
        rows = self._order(copy.deepcopy(rng))[: self._size]
        return self._network.backend.xp.take(self._x, self._network.backend.asarray(rows), axis=0)

    def _order(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        assert self.num_examples is not None
        return rng.permutation(self.num_examples) if self._shuffle else np.arange(self.num_examples)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Array, Array, int]]:
        """(x, targets, rows of the whole batch) of one epoch."""
        assert self.num_examples is not None
        order = self._order(rng)
        for start in range(0, self.num_examples, self._size):
            rows = order[start : start + self._size]
            yield (*self._take(rows[self._part :: self._num_parts]), len(rows))

    def _take(self, rows: np.ndarray[Any, Any]) -> tuple[Array, Array]:
        network = self._network
        xp = network.backend.xp
        index = network.backend.asarray(rows)
        targets = as_batch_targets(xp.take(self._y, index, axis=0), network)
        return xp.take(self._x, index, axis=0), targets


class IterableBatches:
    """Batches that an iterable yields as (x [B, N], y) pairs, once through every epoch."""

    num_examples: int | None = None

    def __init__(self, network: Network, batches: Iterable[Any]) -> None:
        self._network = network
        self._batches = batches
        self._seen_any = False

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
            x = check_inputs(batch[0], network.sizes[0], network.dtype)
            y = network.backend.asarray(check_targets(batch[1], x.shape[0], network))
            if x.shape[0] == 0:
                continue
            empty = False
            yield (
                network.backend.asarray(x, network.dtype),
                as_batch_targets(y, network),
                x.shape[0],
            )
        if empty:
            again = "; a generator can be gone through only once: give a list or a DataLoader" if self._seen_any else ""
            raise ValueError(f"x: the iterable yielded no examples in this epoch{again}")
        self._seen_any = True


Batches = ArrayBatches | IterableBatches


def make_batches(
    network: Network, x: Any, y: Any, batch_size: int, shuffle: bool, part: int = 0, num_parts: int = 1
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
