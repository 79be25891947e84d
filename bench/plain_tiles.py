"""The forward pass as a plain threaded program: fixed tiles, one pass of NumPy for every operation of the formula.

It tells what the kernels gain on the machine at hand over the first thing that one would write.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from bench.layers import Layer
from pn_gpu.kernels.host.threads import num_threads

ROWS, COLUMNS = 256, 512


def forward(layer: Layer, pool: ThreadPoolExecutor) -> np.ndarray:
    """z = x W + b [B, M]; output tiles are dealt out to the threads, BLAS is held to one."""
    table_in, table_out = _tables(layer.r_in, layer.r_out)
    v_out = np.ascontiguousarray(layer.v_out.T)
    z = np.empty((len(layer.x), len(layer.r_out)), layer.x.dtype)

    def make_columns(start: int) -> None:
        columns = slice(start, start + COLUMNS)
        total = np.zeros_like(z[:, columns], order="C")
        for first in range(0, layer.x.shape[1], ROWS):
            rows = slice(first, first + ROWS)
            w = np.exp(table_in[rows] @ table_out[:, columns])
            w *= layer.v_in[rows] @ v_out[:, columns]
            total += layer.x[:, rows] @ w
        z[:, columns] = total + layer.bias[columns]

    with threadpool_limits(1):
        list(pool.map(make_columns, range(0, z.shape[1], COLUMNS)))
    return z


def make_pool() -> ThreadPoolExecutor:
    """As many threads as the kernels have."""
    return ThreadPoolExecutor(num_threads())


def _tables(r_in: np.ndarray, r_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N, n + 2] and [n + 2, M], whose product is -|r_i - r_j|^2."""
    centre = r_in.mean(axis=0)
    a, b = r_in - centre, r_out - centre
    squares_in, squares_out = (np.sum(r * r, axis=1, keepdims=True) for r in (a, b))
    left = np.concatenate([2 * a, -squares_in, -np.ones_like(squares_in)], axis=1)
    right = np.concatenate([b, np.ones_like(squares_out), squares_out], axis=1)
    return left, np.ascontiguousarray(right.T)
