"""Exact weights between a node set and the few particles of the other that the expansion leaves out.

With the left-out inputs I and outputs J,

    W = A C^T + W[:, J] E_J^T + E_I W[I, not J]        E_J = columns J of the identity

so W[:, J] stands beside A and E_J beside C, E_I beside A and W[I, not J] beside C: the left-out particles are further
rows of the two factors, and share their products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pn_gpu.kernels.mehler.arrays import Library

Array = Any


class Particles(NamedTuple):
    """Positions and dipoles of some particles, or gradients of theirs."""

    r: Array  # [K, n]
    v: Array  # [K, d]


class ExactWeights:
    """The weights w_ki between left-out particles k and the particles i of a chunk of the other node set.

    Parameters
    ----------
    library : Library
    left_out : Particles
    r, v : array, [n, BN] and [d, BN]
        Positions and dipoles of the chunk, transposed.
    nil : ndarray of int
        Particles of the chunk whose weights are taken for 0.
    """

    # Values per left-out particle and particle of the chunk that are held at once, for all that is done here.
    ROWS = 7

    def __init__(self, library: Library, left_out: Particles, r: Array, v: Array, nil: Any) -> None:
        self.library, self.left_out = library, left_out
        self.r, self.v = r, v
        distance = library.empty(left_out.r.shape[0], r.shape[1])
        square = library.scratch("square", *distance.shape)
        for axis in range(r.shape[0]):
            difference = self._difference(axis)
            library.multiply(difference, difference, square if axis else distance)
            distance += square if axis else 0.0
        distance *= -1.0
        self.kernel = library.exp(distance)  # [K, BN]
        if len(nil):
            library.put_columns(self.kernel, nil, 0.0)

    def _difference(self, axis: int) -> Array:
        """r_i - r_k along an axis: [K, BN]."""
        out = self.library.scratch("difference", self.left_out.r.shape[0], self.r.shape[1])
        self.library.subtract(self.r[axis, :][None, :], self.left_out.r[:, axis][:, None], out)
        return out

    def fill(self, weights: Array) -> None:
        """Write w [K, BN]."""
        self.library.multiply(self.left_out.v @ self.v, self.kernel, weights)

    def pull_back(self, gradient: Array) -> tuple[Array, Array, Particles]:
        """dr^T [n, BN] and dv^T [d, BN] of the chunk, and the left-out particles' own gradients, from dw [K, BN]."""
        library, xp = self.library, self.library.xp
        by_kernel = library.scratch("square", *gradient.shape)
        library.multiply(gradient, self.kernel, by_kernel)
        dv = xp.matrix_transpose(self.left_out.v) @ by_kernel
        own_dv = by_kernel @ xp.matrix_transpose(self.v)
        by_kernel *= self.left_out.v @ self.v
        dr, own_dr = library.empty(*self.r.shape), library.empty(*self.left_out.r.shape)
        for axis in range(self.r.shape[0]):
            moments = self._difference(axis)
            moments *= by_kernel
            dr[axis, :] = -2 * xp.sum(moments, axis=0)
            own_dr[:, axis] = 2 * xp.sum(moments, axis=1)
        return dr, dv, Particles(own_dr, own_dv)
