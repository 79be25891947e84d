"""What an expansion misses of one node set, and bounds of the error of W from what it misses of both.

The missing features psi of a particle have the square sum e = 1 - sum_a Phi_a^2, and dK_ij = psi_i . psi_j exactly, so
with T = sum_j e_j v_j v_j^T of the other node set (Cauchy-Schwarz)

    |dW_i.|^2 <= e_i v_i^T T v_i

which holds for any positions but takes every psi for parallel. The next S features, the shell, are cheap enough to
look at: with a_i = v_i x psi_i over the shell, G = sum_j a_j a_j^T, and e', T' of what lies beyond the shell,

    |dW_i.| <= sqrt(a_i^T G a_i) + sqrt(e'_i v_i^T T' v_i)
    |dW|_F  <= sqrt(trace(G_in G_out)) + sqrt(trace(T'_in T'_out))

Arrays are NumPy's; sums run over the particles that are not left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pn_gpu.kernels.host.slices import tile_slices
from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.expansion import Expansion, make_expansion, ranked_degrees
from pn_gpu.kernels.mehler.features import NodeFeatures

Array = np.ndarray[Any, np.dtype[Any]]

# 1 - sum Phi^2 is not known better than this in float64.
ROUNDING = 1e-15
# Features that a thread makes at once.
CHUNK_VALUES = 1 << 16
# Values a_i of one node set, in float32, and how many of them a particle has at most.
MOST_SHELL_VALUES, LARGEST_SHELL = 1 << 24, 96
# The shell is kept in float32.
SLACK = 1 + 1e-5


class Nodes(NamedTuple):
    """One node set, in float64."""

    r: Array  # [N, n]
    v: Array  # [N, d]


class Sums(NamedTuple):
    """What the bounds of one node set need of the other."""

    spill: Array  # T: [d, d]
    rest: Array  # T': [d, d]
    gram: Array  # G: [d S, d S]


@dataclass(frozen=True, eq=False)
class Remainder:
    """What an expansion misses of one node set.

    Parameters
    ----------
    v : ndarray, [N, d]
        Dipoles.
    e, rest : ndarray, [N]
        1 - sum Phi^2 over the expansion, and over the expansion and its shell.
    shell : ndarray, [N, d S]
        v x psi over the shell, in float32.
    """

    v: Array
    e: Array
    rest: Array
    shell: Array

    def sums(self, left_out: Array) -> Sums:
        """T, T' and G without the particles in the mask ``left_out`` [N]."""
        kept = ~left_out
        v, shell = self.v[kept], self.shell[kept]
        return Sums(_spill(self.e[kept], v), _spill(self.rest[kept], v), shell.T @ shell)

    def coarse_sums(self, left_out: Array) -> Sums:
        """The same with T alone."""
        kept = ~left_out
        spill = _spill(self.e[kept], self.v[kept])
        return Sums(spill, spill, np.zeros((0, 0), np.float32))

    def bounds(self, other: Sums, above: float = 0.0) -> Array:
        """What the error of the row (or column) of W of every particle cannot exceed: [N].

        Only bounds greater than ``above`` are made sharp.
        """
        bounds = np.sqrt(self.e * _quadratic(self.v, other.spill))
        rows = np.flatnonzero(bounds > above)
        if len(other.gram) and len(rows):
            near = np.sqrt(_quadratic(self.shell[rows], other.gram))
            beyond = np.sqrt(self.rest[rows] * _quadratic(self.v[rows], other.rest))
            bounds[rows] = np.minimum(bounds[rows], SLACK * (near + beyond))
        return bounds


def certificate(inputs: Sums, outputs: Sums) -> float:
    """What |dW|_F cannot exceed."""
    coarse = math.sqrt(max(float(np.sum(inputs.spill * outputs.spill)), 0.0))
    near = math.sqrt(max(float(np.sum(inputs.gram.astype(np.float64) * outputs.gram)), 0.0))
    beyond = math.sqrt(max(float(np.sum(inputs.rest * outputs.rest)), 0.0))
    return min(coarse, SLACK * (near + beyond))


def remainder(expansion: Expansion, nodes: Nodes) -> Remainder:
    """Measure what ``expansion`` misses of all particles, chunk by chunk."""
    count, dim = nodes.v.shape
    kept = {tuple(degree) for degree in expansion.degrees.tolist()}
    shell_size = min(LARGEST_SHELL, MOST_SHELL_VALUES // max(count, 1)) // dim
    degrees, _ = ranked_degrees(expansion.rates, len(kept) + shell_size)
    more = [degree for degree in degrees.tolist() if tuple(degree) not in kept][:shell_size]
    wider = make_expansion(
        expansion.centre,
        expansion.rotation,
        expansion.rates,
        np.concatenate([expansion.degrees, np.array(more, dtype=np.int64).reshape(-1, expansion.num_axes)]),
    )
    in_shell = np.array([tuple(degree) not in kept for degree in wider.degrees.tolist()])
    library = Library(nodes.r, nodes.r)
    features = NodeFeatures(library, wider)
    result = Remainder(
        nodes.v, np.empty(count), np.empty(count), np.empty((count, dim * int(in_shell.sum())), np.float32)
    )

    def measure(chunk: slice) -> None:
        phi = features.features(features.coordinates(library.columns(nodes.r[chunk]), chunk))
        psi = phi[in_shell]
        result.rest[chunk] = 1 - library.sum_of_products(phi, phi)
        result.e[chunk] = result.rest[chunk] + library.sum_of_products(psi, psi)
        result.shell[chunk] = shell_values(psi, nodes.v[chunk])

    library.map(measure, tile_slices(count, max(CHUNK_VALUES // wider.num_features, 1)))
    np.clip(result.e, ROUNDING, 1, out=result.e)
    np.clip(result.rest, ROUNDING, 1, out=result.rest)
    return result


def shell_values(psi: Array, v: Array) -> Array:
    """v x psi [N, d S] in float32, for psi [S, N]."""
    values = v.T.astype(np.float32)[:, None, :] * psi.astype(np.float32)[None, :, :]
    return values.reshape(-1, len(v)).T


def _spill(e: Array, v: Array) -> Array:
    """sum_i e_i v_i v_i^T: [d, d]."""
    return (v * e[:, None]).T @ v


def _quadratic(a: Array, matrix: Array) -> Array:
    """a_i^T matrix a_i, never negative: [N]."""
    return np.maximum(np.einsum("ik,ik->i", a @ matrix, a), 0)
