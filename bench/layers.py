"""Random layers for the benchmarks, as the paper draws them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Layer(NamedTuple):
    """Arguments of one call of the operator."""

    x: Array  # [B, N]
    r_in: Array  # [N, n]
    v_in: Array  # [N, n]
    r_out: Array  # [M, n]
    v_out: Array  # [M, n]
    bias: Array  # [M]
    dz: Array  # [B, M]

    @property
    def particles(self) -> tuple[Array, Array, Array, Array]:
        return self.r_in, self.v_in, self.r_out, self.v_out


def random_layer(batch: int, n_in: int, n_out: int, dim: int, dtype: str = "float32") -> Layer:
    """Positions of standard deviation 0.5 and unit dipoles."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    def unit(count: int) -> Array:
        v = normal(count, dim)
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    return Layer(
        x=normal(batch, n_in),
        r_in=normal(n_in, dim) / 2,
        v_in=unit(n_in),
        r_out=normal(n_out, dim) / 2,
        v_out=unit(n_out),
        bias=normal(n_out),
        dz=normal(batch, n_out),
    )
