"""What the feature loops need of an array library beyond the standard: writing into given memory, and
threads.

NumPy, CuPy and torch take ``out=``, which spares a temporary of every product; other libraries of the
standard get the same result by assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import array_api_compat as compat
import numpy as np

from pn_gpu.kernels.host.gaussian import GaussianValues
from pn_gpu.kernels.host.recycle import recycled
from pn_gpu.kernels.host.scratch import scratch
from pn_gpu.kernels.host.slices import even_slices
from pn_gpu.kernels.host.threads import BLAS_SERIAL_WORK, GROUPS_PER_THREAD, num_threads, parallel_map

Array = Any

# What was sent to a device for an expansion or an approximation, as long as that lives.
_kept: WeakKeyDictionary[Any, dict[tuple[str, ...], Any]] = WeakKeyDictionary()

Item = TypeVar("Item")
Result = TypeVar("Result")

# Values of a factor's rows that a thread makes, multiplies and pulls back at once.
BLOCK_VALUES, SHORTEST_BLOCK = 1 << 20, 1 << 9
# Multiply-adds of products below which the caller's thread does all alone, the products too: on a busy machine BLAS's
# threads make a step of 6 ms one of 230 ms (`python -m bench busy`).
LEAST_WORK = 1 << 26
# A thread is worth its start for so many particles, whose calls are long enough that threads do not wait for each
# other's hold of the interpreter, or for so many multiply-adds.
THREAD_LENGTH, THREAD_WORK = 1 << 10, 1 << 27


class Library:
    """The array library, device and dtypes of one call.

    Parameters
    ----------
    x : array
        Inputs: their dtype is that of the products.
    r : array
        Positions: features have their dtype, but never fewer than 32 bits.
    """

    def __init__(self, x: Array, r: Array) -> None:
        self.xp = compat.array_namespace(x, r)
        self.device = compat.device(x)
        self.product_dtype = x.dtype
        self.dtype = r.dtype if self.xp.finfo(r.dtype).bits >= 32 else self.xp.float32
        self.is_numpy = isinstance(x, np.ndarray)
        self._is_torch = compat.is_torch_array(x)
        self._takes_out = self.is_numpy or self._is_torch or compat.is_cupy_array(x)

    @property
    def itemsize(self) -> int:
        """Bytes of one feature."""
        return int(self.xp.finfo(self.dtype).bits) // 8

    def empty(self, *shape: int, dtype: Any = None) -> Array:
        """Uninitialised memory on the device."""
        return self.xp.empty(shape, dtype=dtype or self.dtype, device=self.device)

    def lasting(self, *shape: int, dtype: Any = None) -> Array:
        """Uninitialised memory for something large that is dropped before long, to be used again then."""
        if self.is_numpy:
            return recycled(shape, np.dtype(dtype or self.dtype))
        return self.empty(*shape, dtype=dtype)

    def zeros(self, *shape: int, dtype: Any = None) -> Array:
        """Zeros on the device."""
        return self.xp.zeros(shape, dtype=dtype or self.dtype, device=self.device)

    def constant(self, values: np.ndarray[Any, Any], dtype: Any = None) -> Array:
        """A small NumPy array on the device."""
        if self.is_numpy:
            return values.astype(dtype or self.dtype)
        return self.xp.asarray(values.tolist(), dtype=dtype or self.dtype, device=self.device)

    def kept(self, owner: Any, name: str, make: Callable[[], Result]) -> Result:
        """What ``make`` makes of constants, once for every owner, device and dtype: a copy to a GPU is a launch, and
        a graph that is captured takes none."""
        if self.is_numpy:
            return make()
        made = _kept.setdefault(owner, {})
        key = (name, self.xp.__name__, str(self.device), str(self.dtype))
        if key not in made:
            made[key] = make()
        return made[key]

    def rows(self, indices: np.ndarray[Any, Any]) -> Array:
        """Indices of rows on the device."""
        return indices if self.is_numpy else self.constant(indices, self.xp.int64)

    def cast(self, a: Array, dtype: Any) -> Array:
        """``a`` in ``dtype``, itself where it already is."""
        return a if a.dtype == dtype else self.xp.astype(a, dtype)

    def columns(self, a: Array) -> Array:
        """a^T of ``a`` [BN, n] with its rows contiguous, in the features' dtype: [n, BN]."""
        transposed = self.empty(a.shape[1], a.shape[0])
        transposed[...] = self.cast(self.xp.matrix_transpose(a), self.dtype)
        return transposed

    def multiply(self, a: Array, b: Array, out: Array) -> None:
        """``out[...] = a * b``."""
        if self._takes_out:
            self.xp.multiply(a, b, out=out)
        else:
            out[...] = a * b

    def subtract(self, a: Array, b: Array, out: Array) -> None:
        """``out[...] = a - b``."""
        if self._takes_out:
            self.xp.subtract(a, b, out=out)
        else:
            out[...] = a - b

    def gaussian(self, s: Array) -> Array:
        """exp(-s), in place where the library can; NumPy's has no subnormal numbers."""
        if not self.is_numpy:
            s *= -1.0
            return self.xp.exp(s, out=s) if self._takes_out else self.xp.exp(s)
        values = GaussianValues(s.dtype, np.nan)
        s *= -values.unit
        values.exponentiate(s)
        return s

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """``out[...] = a @ b``."""
        if self._takes_out and a.dtype == out.dtype:
            self.xp.matmul(a, b, out=out)
        else:
            out[...] = self.cast(a @ b, out.dtype)

    def take_rows(self, a: Array, rows: Array, out: Array | None = None) -> Array:
        """Rows of ``a``; NumPy and torch copy them to ``out``."""
        if self.is_numpy:
            return np.take(a, rows, axis=0, out=out, mode="clip")
        if self._is_torch:
            # The standard's take allows for negative indices, at three more launches.
            return self.xp.index_select(a, 0, rows, out=out)
        return self.xp.take(a, rows, axis=0)

    def with_ones(self, a: Array) -> Array:
        """``a`` [R, N] and a row of ones."""
        return self.xp.concat([a, self.xp.ones((1, a.shape[1]), dtype=a.dtype, device=self.device)])

    def pick(self, a: Array, rows: Array) -> Array:
        """``a[rows]`` in the features' dtype, for indices of `rows`."""
        return self.cast(self.take_rows(a, rows), self.dtype)

    def _on_device(self, indices: np.ndarray[Any, Any], owner: Any) -> Array:
        """Indices on the device, sent there once for their ``owner``, an expansion."""
        if self.is_numpy:
            return indices
        return self.kept(owner, f"indices {indices.tobytes().hex()}", lambda: self.rows(indices))

    def put_columns(self, a: Array, columns: np.ndarray[Any, Any], value: float, owner: Any) -> None:
        """``a[:, columns] = value``; see `_on_device`."""
        if self._takes_out:
            a[:, self._on_device(columns, owner)] = value
        else:
            for column in columns.tolist():
                a[:, column] = value

    def add_to_rows(self, a: Array, rows: np.ndarray[Any, Any], values: Array, owner: Any) -> None:
        """``a[rows] += values``, for rows that are all different; see `_on_device`."""
        values = self.cast(values, a.dtype)
        if self._takes_out:
            a[self._on_device(rows, owner)] += values
        else:
            for position, row in enumerate(rows.tolist()):
                a[row, :] += values[position, :]

    def sum_of_products(self, a: Array, b: Array) -> Array:
        """sum_p a[..., p, :] b[p, :]: [..., N]."""
        if self.is_numpy:
            return np.einsum("...pn,pn->...n", a, b)
        return self.xp.sum(a * b, axis=-2)

    def weighted_sum(self, a: Array, weights: Array) -> Array:
        """sum_d a[d, p, :] weights[d, :]: [P, N]."""
        if self.is_numpy:
            return np.einsum("dpn,dn->pn", a, weights, out=self.scratch("pull", a.shape[1], a.shape[2]))
        return self.xp.sum(a * weights[:, None, :], axis=0)

    def scratch(self, purpose: str, *shape: int) -> Array:
        """Memory that is this thread's own until it asks for the same purpose again: fresh pages cost much."""
        return scratch(purpose, shape, self.dtype) if self.is_numpy else self.empty(*shape)

    def groups(self, length: int, rows: int, values: int, batch: int, budget: int) -> list[list[slice]]:
        """Blocks that cover ``range(length)``, in groups that threads take one at a time.

        A particle has ``rows`` rows, which are multiplied with ``batch`` rows of x, and takes ``values`` values in all;
        the blocks in hand stay within ``budget`` bytes.
        """
        threads, work = 1, length * rows * batch
        if self.is_numpy and work >= LEAST_WORK:
            threads = max(1, min(num_threads(), max(length // THREAD_LENGTH, work // THREAD_WORK)))
        size = budget // (threads * values * self.itemsize)
        if self.is_numpy:
            size = min(size, max(BLOCK_VALUES // rows, SHORTEST_BLOCK))
        count = -(-length // (threads * max(size, 1)))
        blocks = even_slices(length, threads * count)
        return [blocks[group] for group in even_slices(len(blocks), threads * GROUPS_PER_THREAD if threads > 1 else 1)]

    def map(self, function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        """The function of every item; NumPy deals several out to its threads, and holds BLAS to one."""
        if self.is_numpy:
            return parallel_map(function, items, BLAS_SERIAL_WORK, spare_blas=False)
        return [function(item) for item in items]

    @staticmethod
    def total(parts: Iterable[Array]) -> Array:
        """The sum of ``parts``, in order, in the memory of the first; there is at least one."""
        first, *others = parts
        for part in others:
            first += part
        return first
