"""A start that keeps the scale: how large z gets at unit dipoles, and dipoles that bring it to unit size.

By the paper's start z grows with the width and from layer to layer. Take a layer of N inputs x_i and unit dipoles in
R^d, positions from N(0, 0.5^2). If the inputs know nothing of the particles, as the data of a first layer, the terms of
z_j = sum_i x_i (v_i . v_j) k_ij are independent and

    E z^2 = N E[x^2] E[k^2] / d.

The inputs of a layer that shares its node set with the layer below do know: x_i = phi(z_i) and z_i = v_i . u(r_i) with
a smooth field u, so all terms add up along u. With phi(z) ~ kappa z on average, kappa = E[z phi(z)] for unit z, and u
as the leading eigenfunction of the kernel under the density of positions, of eigenvalue lambda, sum_i x_i v_i k_ij =
N kappa lambda u / d: z grows by N kappa lambda / d, like N and not like sqrt(N).

Assumed: inputs of unit mean square, z about normal, N large. What is left is measured on data, layer after layer, as
LSUV does (layer-sequential unit variance; Mishkin and Matas, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pn_gpu.kernels import potentials
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials import Potential

Array = Any

INITIALISATIONS = ("scaled", "paper")

# Standard deviation of every coordinate at the start of the paper's training.
INITIAL_SPREAD = 0.5

# Root mean square of z that a start aims at. Logits of 0.5 leave a softmax near uniform: a loss of about ln M + 0.1.
HIDDEN_SIZE, OUTPUT_SIZE = 1.0, 0.5

# Particles, and values of z, that stand for all in the formula.
_PARTICLES, _VALUES = 256, 4096


@dataclass(frozen=True)
class ActivationMoments:
    """Of phi(z) for z from N(0, 1): ``gain`` E[z phi(z)] and ``mean_square`` E[phi(z)^2]."""

    gain: float
    mean_square: float


# Inputs of unit mean square that know nothing of the particles.
INPUT_MOMENTS = ActivationMoments(gain=0.0, mean_square=1.0)
RELU_MOMENTS = ActivationMoments(gain=0.5, mean_square=0.5)


def activation_moments(function: Callable[[Array], Array], num: int) -> ActivationMoments:
    """Moments of ``function``, an activation of ``num`` nodes on NumPy arrays [rows, num], from a fixed sample."""
    z = np.random.default_rng(0).standard_normal((max(_VALUES // num, 1), num))
    y = np.asarray(function(z))
    return ActivationMoments(float((z * y).mean()), float((y * y).mean()))


@cache
def kernel_moments(potential: str | Potential, dim: int) -> tuple[float, float]:
    """E[k^2] and the largest eigenvalue lambda of k, for positions in R^dim from N(0, 0.5^2).

    On a sample that is always the same, so that a start depends on the seed by the particles alone.
    """
    r = INITIAL_SPREAD * np.random.default_rng(0).standard_normal((_PARTICLES, dim))
    k = np.asarray(potentials.get(potential).value(((r[:, None, :] - r) ** 2).sum(axis=2)))
    np.fill_diagonal(k, 0)  # a particle meets others, not itself
    others = _PARTICLES - 1
    return float((k * k).sum()) / (_PARTICLES * others), float(np.linalg.eigvalsh(k)[-1]) / others


def layer_gain(
    num_in: int, dipole_dim: int, kernel: tuple[float, float], inputs: ActivationMoments, coherent: bool
) -> float:
    """Root mean square of z at unit dipoles.

    Parameters
    ----------
    num_in, dipole_dim : int
    kernel : (float, float)
        What `kernel_moments` gives.
    inputs : ActivationMoments
        Of the activation that made the inputs.
    coherent : bool
        Whether the inputs were made by the very particles they now meet: a shared node set of free dipoles.
    """
    mean_square, eigenvalue = kernel
    independent = num_in * inputs.mean_square * mean_square / dipole_dim
    together = num_in * inputs.gain * eigenvalue / dipole_dim if coherent else 0.0
    return math.sqrt(independent + together**2)


def dipole_sizes(
    sizes: Sequence[int],
    dipole_dim: int,
    potential: str | Potential,
    dim: int,
    activations: Sequence[ActivationMoments],
    coherent: bool,
) -> list[float]:
    """What to multiply the unit dipoles of every layer's output set by, first layer first.

    Parameters
    ----------
    sizes : sequence of int
        Nodes at every level, inputs first.
    dipole_dim, potential, dim
    activations : sequence of ActivationMoments
        Of the hidden layers.
    coherent : bool
        Whether each layer's input dipoles are the output dipoles of the layer below.
    """
    kernel = kernel_moments(potential, dim)
    factors: list[float] = []
    below = 1.0
    for index, num_in in enumerate(sizes[:-1]):
        inputs = activations[index - 1] if index > 0 else INPUT_MOMENTS
        gain = layer_gain(num_in, dipole_dim, kernel, inputs, coherent and index > 0)
        factor = target_size(index, len(sizes) - 1) / (gain * below) if gain > 0 else 1.0
        factors.append(factor)
        below = factor if coherent else 1.0
    return factors


def target_size(index: int, num_layers: int) -> float:
    """Root mean square of z that layer ``index`` of ``num_layers`` starts with."""
    return OUTPUT_SIZE if index == num_layers - 1 else HIDDEN_SIZE


def differs_by_example(x: Array) -> bool:
    """Whether x [B, N] can say how large z gets: constants, zeros and a single row cannot."""
    return x.shape[0] > 1 and bool(namespace_of(x).any(x != x[:1, ...]))


def root_mean_square(z: Array, weights: Array | None = None) -> float:
    """Of all elements; with ``weights`` [B], not all 0, of weighted rows."""
    xp = namespace_of(z)
    squares = z * z
    if weights is not None:
        squares = squares * (weights / xp.mean(weights))[:, None]
    return float(xp.mean(squares)) ** 0.5


def mean_length(vectors: Array) -> float:
    """Root mean square of the lengths of vectors [N, d], or of numbers [N]; 1 if all are 0."""
    return root_mean_square(vectors) * math.sqrt(math.prod(vectors.shape[1:])) or 1.0


def correction(size: float, target: float) -> float:
    """What to multiply dipoles by that give z of this size; 1 where the size says nothing."""
    return target / size if 0 < size < math.inf else 1.0
