"""Samples of the exact and the approximate W: estimates of |W|_F and of the error |dW|_F.

The error is estimated from rows and columns drawn with probabilities |v|^2 e, under which no drawn weight can weigh
more than the bound of the whole: few weights suffice. Arrays are NumPy's, in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.expansion import Expansion
from pn_gpu.kernels.mehler.features import NOBODY, NodeFeatures
from pn_gpu.planning.remainder import Nodes

Array = np.ndarray[Any, np.dtype[Any]]


def features(expansion: Expansion, r: Array) -> Array:
    """Phi [P, N] of few particles."""
    if not len(r):
        return np.zeros((expansion.num_features, 0))
    library = Library(r, r)
    nodes = NodeFeatures(library, expansion)
    return nodes.features(nodes.coordinates(library.columns(r), slice(0, len(r))))


def sampled_error(
    expansion: Expansion,
    inputs: Nodes,
    e_in: Array,
    outputs: Nodes,
    e_out: Array,
    samples: int,
    rng: np.random.Generator,
) -> float:
    """Estimate of |dW|_F from ``samples`` rows and as many columns, drawn with probability |v|^2 e."""
    rows, scale_in = _draw(inputs.v, e_in, samples, rng)
    columns, scale_out = _draw(outputs.v, e_out, samples, rng)
    if not len(rows) or not len(columns):
        return 0.0
    chosen_in, chosen_out = (Nodes(s.r[i], s.v[i]) for s, i in ((inputs, rows), (outputs, columns)))
    difference = gaussian(chosen_in.r, chosen_out.r)
    difference -= features(expansion, chosen_in.r).T @ features(expansion, chosen_out.r)
    difference *= chosen_in.v @ chosen_out.v.T
    return math.sqrt(float(scale_in @ (difference * difference) @ scale_out))


def sampled_norm(inputs: Nodes, outputs: Nodes, samples: int, rng: np.random.Generator) -> float:
    """Estimate of |W|_F from ``samples`` rows and as many columns, drawn with probability |v|^2."""
    rows, scale_in = _draw(inputs.v, np.ones(len(inputs.v)), samples, rng)
    columns, scale_out = _draw(outputs.v, np.ones(len(outputs.v)), samples, rng)
    if not len(rows) or not len(columns):
        return 0.0
    w = (inputs.v[rows] @ outputs.v[columns].T) * gaussian(inputs.r[rows], outputs.r[columns])
    return math.sqrt(float(scale_in @ (w * w) @ scale_out))


def gaussian(r_in: Array, r_out: Array) -> Array:
    """exp(-|r_i - r_j|^2) from exact differences: [N, M]."""
    s = np.zeros((len(r_in), len(r_out)))
    for axis in range(r_in.shape[1]):
        s += (r_in[:, axis, None] - r_out[None, :, axis]) ** 2
    return np.exp(-s)


def _draw(v: Array, weight: Array, samples: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Indices, all of them where they are few, and by how much each stands for the whole sum."""
    if len(v) <= samples:
        some = np.flatnonzero(weight > 0)
        return some, np.ones(len(some))
    share = np.cumsum(weight * np.einsum("id,id->i", v, v))
    if share[-1] <= 0:
        return NOBODY, np.zeros(0)
    # One point in each of equal strata: steadier than independent draws.
    points = (np.arange(samples) + rng.random(samples)) * (share[-1] / samples)
    drawn = np.minimum(np.searchsorted(share, points), len(v) - 1)
    probability = np.diff(share, prepend=0.0)[drawn] / share[-1]
    return drawn, 1 / (samples * probability)
