"""Random layers for the benchmarks, and a training step of this library's on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import pn_gpu as pn

Array = np.ndarray
# A call that computes z and returns its gradients, under the names of `pn_gpu.OperatorGradient`.
Step = Callable[[], Mapping[str, Any]]


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


def random_layer(
    batch: int,
    n_in: int,
    n_out: int,
    dim: int,
    dtype: str = "float32",
    spread: float = 0.5,
    dipoles: float | None = None,
) -> Layer:
    """A layer of normally distributed numbers; by default as the paper draws its particles.

    Every array is drawn in its dtype and scaled in place, so that a layer of a million takes no more memory than it
    holds.

    Parameters
    ----------
    batch, n_in, n_out, dim : int
        B, N, M and n.
    dtype : {"float32", "float64"}
    spread : float, default 0.5
        Standard deviation of the positions.
    dipoles : float, optional
        Standard deviation of the dipoles; by default they are unit vectors.
    """
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> Array:
        a = rng.standard_normal(shape, dtype=dtype)
        a *= scale
        return a

    def dipole(count: int) -> Array:
        if dipoles is not None:
            return normal(count, dim, scale=dipoles)
        v = normal(count, dim)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        return v

    return Layer(
        r_in=normal(n_in, dim, scale=spread),
        v_in=dipole(n_in),
        r_out=normal(n_out, dim, scale=spread),
        v_out=dipole(n_out),
        x=normal(batch, n_in),
        dz=normal(batch, n_out),
        bias=normal(n_out),
    )


def training_step(layer: Layer, method: str | pn.Plan, rtol: float = 1e-3) -> tuple[Array, pn.OperatorGradient]:
    """z and all gradients, as a network computes them; a method that is no plan is planned in the calls."""
    z, pull_back = pn.particle_linear_vjp(layer.x, *layer.particles, layer.bias, method=method, rtol=rtol)
    return z, pull_back(layer.dz)


def planned_step(layer: Layer, planner: pn.MethodPlanner) -> Step:
    """A training step as a network takes it: the planner is asked before each, so its checks count."""

    def step() -> Mapping[str, Array]:
        plan = planner.plan(len(layer.x), *layer.particles)
        return training_step(layer, plan)[1]._asdict()

    return step
