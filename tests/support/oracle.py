"""The operator in float64 with a stored W, written as plainly as its formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pn_gpu.kernels.room import Particles

# k(s) and k'(s) once more, so that a slip in the library's own definitions shows.
POTENTIALS: dict[str, tuple[Callable, Callable]] = {
    "gaussian": (lambda s: np.exp(-s), lambda s: -np.exp(-s)),
    "exponential": (
        lambda s: np.exp(-np.sqrt(s)),
        lambda s: np.where(s > 0, -np.exp(-np.sqrt(s)) / (2 * np.sqrt(np.where(s > 0, s, 1))), 0),
    ),
    "lorentzian": (lambda s: 1 / (1 + s), lambda s: -1 / (1 + s) ** 2),
    "inverse_multiquadric": (lambda s: (1 + s) ** -0.5, lambda s: -0.5 * (1 + s) ** -1.5),
    "triangle": (
        lambda s: np.maximum(0, 1 - np.sqrt(s)),
        lambda s: np.where((s > 0) & (s < 1), -0.5 / np.sqrt(np.where(s > 0, s, 1)), 0),
    ),
    "wendland_c2": (
        lambda s: np.maximum(0, 1 - np.sqrt(s)) ** 4 * (4 * np.sqrt(s) + 1),
        lambda s: -10 * np.maximum(0, 1 - np.sqrt(s)) ** 3,
    ),
}


class Case(NamedTuple):
    """Arguments of one call of the operator."""

    x: np.ndarray  # [B, N]
    r_in: np.ndarray  # [N, n]
    v_in: np.ndarray  # [N, d]
    r_out: np.ndarray  # [M, n]
    v_out: np.ndarray  # [M, d]
    bias: np.ndarray  # [M]
    dz: np.ndarray  # [B, M]

    @property
    def particles(self) -> Particles:
        return Particles(self.r_in, self.v_in, self.r_out, self.v_out)


class Gradients(NamedTuple):
    """What the operator's backward returns."""

    dx: np.ndarray
    dr_in: np.ndarray
    dv_in: np.ndarray
    dr_out: np.ndarray
    dv_out: np.ndarray
    dbias: np.ndarray


def random_case(
    b: int,
    n_in: int,
    n_out: int,
    dim: int = 3,
    d: int | None = None,
    dtype=np.float64,
    seed: int = 0,
    spread=0.5,
) -> Case:
    """Particles as the paper draws them (positions and dipoles of standard deviation ``spread``)."""
    rng = np.random.default_rng(seed)
    d = dim if d is None else d
    shapes = [(b, n_in), (n_in, dim), (n_in, d), (n_out, dim), (n_out, d), (n_out,), (b, n_out)]
    scales = [1.0, spread, 0.5, spread, 0.5, 0.1, 1.0]
    return Case(*(np.asarray(s * rng.standard_normal(shape), dtype) for shape, s in zip(shapes, scales, strict=True)))


def weight(case: Case, potential: str = "gaussian") -> np.ndarray:
    """W [N, M] in float64."""
    r_in, v_in, r_out, v_out = (a.astype(np.float64) for a in case.particles)
    s = ((r_in[:, None, :] - r_out[None, :, :]) ** 2).sum(axis=2)
    return (v_in @ v_out.T) * POTENTIALS[potential][0](s)


def forward(case: Case, potential: str = "gaussian") -> np.ndarray:
    """z [B, M] in float64."""
    return case.x.astype(np.float64) @ weight(case, potential) + case.bias.astype(np.float64)


def backward(case: Case, potential: str = "gaussian") -> Gradients:
    """All gradients in float64."""
    x, r_in, v_in, r_out, v_out, _, dz = (a.astype(np.float64) for a in case)
    difference = r_in[:, None, :] - r_out[None, :, :]  # [N, M, n]
    s = (difference**2).sum(axis=2)
    k, slope = (function(s) for function in POTENTIALS[potential])
    g = x.T @ dz
    c = v_in @ v_out.T
    pull = 2 * (g * c * slope)[:, :, None] * difference
    return Gradients(
        dx=dz @ (c * k).T,
        dr_in=pull.sum(axis=1),
        dv_in=(g * k) @ v_out,
        dr_out=-pull.sum(axis=0),
        dv_out=(g * k).T @ v_in,
        dbias=dz.sum(axis=0),
    )


def forward_scale(case: Case, potential: str = "gaussian") -> np.ndarray:
    """sum_i |x_bi w_ij| + |b_j| [B, M]: what the rounding errors of z are measured against."""
    return np.abs(case.x.astype(np.float64)) @ np.abs(weight(case, potential)) + np.abs(case.bias)


def backward_scale(case: Case, potential: str = "gaussian") -> Gradients:
    """The gradients with every term taken by its absolute value: the measure of their rounding errors."""
    x, _, v_in, _, v_out, _, dz = (np.abs(a.astype(np.float64)) for a in case)
    difference = case.r_in[:, None, :].astype(np.float64) - case.r_out[None, :, :]
    s = (difference**2).sum(axis=2)
    k, slope = (np.abs(function(s)) for function in POTENTIALS[potential])
    g = x.T @ dz
    c = v_in @ v_out.T
    pull = 2 * (g * c * slope)[:, :, None] * np.abs(difference)
    return Gradients(
        dx=dz @ (c * k).T,
        dr_in=pull.sum(axis=1),
        dv_in=(g * k) @ v_out,
        dr_out=pull.sum(axis=0),
        dv_out=(g * k).T @ v_in,
        dbias=dz.sum(axis=0),
    )


def scaled_error(got: np.ndarray, want: np.ndarray, scale: np.ndarray) -> float:
    """The largest |got - want| / scale; 0 where both are exactly alike."""
    if got.shape != want.shape:
        raise AssertionError(f"shape {got.shape}, want {want.shape}")
    if want.size == 0:
        return 0.0
    error = np.abs(np.asarray(got, np.float64) - want)
    worst = np.where(error == 0, 0.0, error / np.maximum(scale, np.finfo(np.float64).tiny)).max()
    return math.inf if np.isnan(worst) else float(worst)
