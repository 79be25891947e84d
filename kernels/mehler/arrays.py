"""What the feature loops need of an array library beyond the standard: writing into given memory, and
threads.

NumPy, CuPy and torch take ``out=``, which spares a temporary of every product; other libraries of the
standard get the same result by assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import array_api_compat as compat
import numpy as np

from pn_gpu.kernels.numpy.scratch import scratch
from pn_gpu.kernels.numpy.threads import num_threads, parallel_map
from pn_gpu.kernels.numpy.tiles import BLAS_SERIAL_WORK

Array = Any

# What one chunk touches, most of it at different times, against a core's L2 cache; fewer calls count as well.
CACHE_BYTES = 4 << 20
SHORTEST_CHUNK, LONGEST_CHUNK = 512, 2048


class Job(NamedTuple):
    """A function of some chunks of a node set, and all the chunks it is for."""

    function: Callable[[list[slice]], Any]
    chunks: list[slice]


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
        self._takes_out = self.is_numpy or compat.is_cupy_array(x) or compat.is_torch_array(x)

    @property
    def itemsize(self) -> int:
        """Bytes of one feature."""
        return int(self.xp.finfo(self.dtype).bits) // 8

    def empty(self, *shape: int, dtype: Any = None) -> Array:
        """Uninitialised memory on the device."""
        return self.xp.empty(shape, dtype=dtype or self.dtype, device=self.device)

    def zeros(self, *shape: int, dtype: Any = None) -> Array:
        """Zeros on the device."""
        return self.xp.zeros(shape, dtype=dtype or self.dtype, device=self.device)

    def constant(self, values: np.ndarray[Any, Any], dtype: Any = None) -> Array:
        """A small NumPy array on the device."""
        return self.xp.asarray(values.tolist(), dtype=dtype or self.dtype, device=self.device)

    def cast(self, a: Array, dtype: Any) -> Array:
        """``a`` in ``dtype``, itself where it already is."""
        return a if a.dtype == dtype else self.xp.astype(a, dtype)

    def multiply(self, a: Array, b: Array, out: Array) -> None:
        """``out[...] = a * b``."""
        if self._takes_out:
            self.xp.multiply(a, b, out=out)
        else:
            out[...] = a * b

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """``out[...] = a @ b``; ``out`` may be a view of some columns."""
        if self._takes_out:
            self.xp.matmul(a, b, out=out)
        else:
            out[...] = a @ b

    def take_rows(self, a: Array, rows: Array, out: Array) -> Array:
        """Rows of ``a`` [P, N], copied to the first rows of ``out``; returns them."""
        if self.is_numpy:
            return np.take(a, rows, axis=0, out=out[: len(rows)], mode="clip")
        return self.xp.take(a, rows, axis=0)

    def sum_of_products(self, a: Array, b: Array) -> Array:
        """sum_p a[..., p, :] b[p, :]: [..., N]."""
        if self.is_numpy:
            return np.einsum("...pn,pn->...n", a, b)
        return self.xp.sum(a * b, axis=-2)

    def weighted_sum(self, a: Array, weights: Array, out: Array) -> Array:
        """sum_d a[d, p, :] weights[d, :]: [P, N]; NumPy writes it to ``out``."""
        if self.is_numpy:
            return np.einsum("dpn,dn->pn", a, weights, out=out)
        return self.xp.sum(a * weights[:, None, :], axis=0)

    def scratch(self, size: int) -> Array:
        """Memory for ``size`` features that is this thread's own until it asks again: fresh pages cost
        much."""
        return scratch("features", (size,), self.dtype) if self.is_numpy else self.empty(size)

    def run(self, *jobs: Job) -> list[list[Array]]:
        """What every job returns for its groups of chunks: on NumPy dealt out to the threads, all jobs at once."""
        share = num_threads() if self.is_numpy else 1
        tasks = [
            (position, job.function, job.chunks[start::share])
            for position, job in enumerate(jobs)
            for start in range(min(share, len(job.chunks)))
        ]
        if self.is_numpy:
            done = parallel_map(lambda task: task[1](task[2]), tasks, BLAS_SERIAL_WORK)
        else:
            done = [function(chunks) for _, function, chunks in tasks]
        results: list[list[Array]] = [[] for _ in jobs]
        for (position, _, _), result in zip(tasks, done, strict=True):
            results[position].append(result)
        return results

    def chunks(self, length: int, rows: int, batch: int, budget: int) -> list[slice]:
        """Slices that cover ``range(length)``, on NumPy short enough for the cache.

        ``rows`` is how many features one particle takes, which stay within ``budget`` bytes for all threads
        together, and ``batch`` how many inputs.
        """
        size = max(budget // (rows * self.itemsize), 1)
        if self.is_numpy:
            cached = max(CACHE_BYTES // ((rows + batch) * self.itemsize), SHORTEST_CHUNK)
            shared = -(-length // num_threads())
            size = max(min(size // num_threads(), cached, LONGEST_CHUNK, shared), 1)
        return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def take(a: Array, indices: np.ndarray[Any, Any], axis: int = 0) -> Array:
    """``a`` at ``indices`` along an axis, contiguous."""
    if isinstance(a, np.ndarray):
        return np.take(a, indices, axis=axis)
    xp = compat.array_namespace(a)
    return xp.take(a, xp.asarray(indices.tolist(), dtype=xp.int64, device=compat.device(a)), axis=axis)


def put_columns(a: Array, columns: np.ndarray[Any, Any], values: Array) -> None:
    """``a[:, columns] = values``."""
    if isinstance(a, np.ndarray) or compat.is_cupy_array(a) or compat.is_torch_array(a):
        a[:, columns.tolist()] = values
    else:
        for position, column in enumerate(columns.tolist()):
            a[:, column] = values[:, position]


def put_rows(a: Array, rows: np.ndarray[Any, Any], values: Array) -> None:
    """``a[rows] = values``."""
    if isinstance(a, np.ndarray) or compat.is_cupy_array(a) or compat.is_torch_array(a):
        a[rows.tolist()] = values
    else:
        for position, row in enumerate(rows.tolist()):
            a[row, :] = values[position, :]


def total(parts: Sequence[Array], otherwise: Array) -> Array:
    """The sum of ``parts``, in order; ``otherwise`` if there are none."""
    if not parts:
        return otherwise
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result
