"""What the feature loops need of an array library beyond the standard: writing into given memory, and
threads.

NumPy, CuPy and torch take ``out=``, which spares a temporary of every product; other libraries of the
standard get the same result by assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import array_api_compat as compat
import numpy as np

from pn_gpu.kernels.numpy.scratch import scratch
from pn_gpu.kernels.numpy.threads import num_threads, parallel_map
from pn_gpu.kernels.numpy.tiles import BLAS_SERIAL_WORK, even_slices

Array = Any

Item = TypeVar("Item")
Result = TypeVar("Result")

# Values of a factor that are made before its product is taken: a long product is worth handing to the threads.
PANEL_VALUES, SHORTEST_PANEL = 1 << 20, 4096
# Features that a thread makes at once. Shorter calls of NumPy are slower on two threads than on one, which wait for
# each other's hold of the interpreter; and what is gained by staying in the cache is less.
CHUNK_VALUES = 1 << 16
# Multiply-adds of products below which the caller's thread does them alone.
LEAST_WORK = 1 << 24


class Product(NamedTuple):
    """A product to be written: ``out[...] = a @ b``; ``out`` may be a view of some columns."""

    a: Array
    b: Array
    out: Array

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return self.a.shape[0] * self.a.shape[1] * self.b.shape[1]


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

    def exp(self, a: Array) -> Array:
        """exp(a), in place where the library can."""
        return self.xp.exp(a, out=a) if self._takes_out else self.xp.exp(a)

    def share(self, work: int) -> int:
        """How many threads take part in products of so many multiply-adds."""
        return num_threads() if self.is_numpy and work >= LEAST_WORK else 1

    def compute(self, products: list[Product]) -> None:
        """Write all products; NumPy deals them out to the threads."""
        if self.is_numpy:
            work = sum(product.work for product in products)
            parallel_map(lambda p: np.matmul(p.a, p.b, out=p.out), products, work)
            return
        for a, b, out in products:
            if self._takes_out and a.dtype == out.dtype:
                self.xp.matmul(a, b, out=out)
            else:
                out[...] = self.cast(a @ b, out.dtype)

    def by_columns(self, *products: Product) -> list[Product]:
        """The products, each cut into columns for the threads."""
        share = self.share(sum(product.work for product in products))
        return [
            Product(a, b[:, where], out[:, where]) for a, b, out in products for where in even_slices(b.shape[1], share)
        ]

    def take_rows(self, a: Array, rows: Array, out: Array) -> Array:
        """Rows of ``a`` [P, BN]; NumPy copies them to ``out``."""
        if self.is_numpy:
            return np.take(a, rows, axis=0, out=out, mode="clip")
        return self.xp.take(a, rows, axis=0)

    def with_ones(self, a: Array) -> Array:
        """``a`` [R, N] and a row of ones."""
        return self.xp.concat([a, self.xp.ones((1, a.shape[1]), dtype=a.dtype, device=self.device)])

    def pick(self, a: Array, indices: np.ndarray[Any, Any]) -> Array:
        """``a[indices]`` in the features' dtype."""
        return self.cast(a[indices] if self.is_numpy else self.xp.take(a, self.rows(indices), axis=0), self.dtype)

    def put_columns(self, a: Array, columns: np.ndarray[Any, Any], value: float) -> None:
        """``a[:, columns] = value``."""
        if self._takes_out:
            a[:, columns.tolist()] = value
        else:
            for column in columns.tolist():
                a[:, column] = value

    def add_to_rows(self, a: Array, rows: np.ndarray[Any, Any], values: Array) -> None:
        """``a[rows] += values``, for rows that are all different."""
        values = self.cast(values, a.dtype)
        if self._takes_out:
            a[rows.tolist()] += values
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

    def panels(self, length: int, rows: int, values: int, budget: int) -> list[slice]:
        """Slices that cover ``range(length)`` for factors of ``rows`` rows; a particle takes ``values`` values in all.

        Both node sets together stay within ``budget`` bytes.
        """
        size = budget // (2 * values * self.itemsize)
        if self.is_numpy:
            size = min(size, max(PANEL_VALUES // rows, SHORTEST_PANEL))
        return even_slices(length, -(-length // max(size, 1)))

    def chunks(self, length: int, features: int) -> list[slice]:
        """Slices that cover ``range(length)``, one for every thread that is worth its start."""
        share = min(num_threads(), length * features // CHUNK_VALUES) if self.is_numpy else 1
        return even_slices(length, share)

    def map(self, function: Callable[[Item], Result], chunks: list[Item]) -> list[Result]:
        """The function of every chunk; NumPy deals them out to the threads, with BLAS held to one."""
        if self.is_numpy:
            return parallel_map(function, chunks, BLAS_SERIAL_WORK)
        return [function(chunk) for chunk in chunks]


def total(parts: Sequence[Array]) -> Array:
    """The sum of ``parts``, in order; there is at least one."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result
