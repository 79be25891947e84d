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


class NodeSet(NamedTuple):
    """Positions and dipoles of some particles, or gradients of theirs."""

    r: Array  # [K, n]
    v: Array  # [K, d]


class ExactWeights:
    """The weights w_ki between left-out particles k and the particles i of a chunk of the other node set.

    Parameters
    ----------
    library : Library
    left_out : NodeSet
    r, v : array, [n, BN] and [d, BN]
        Positions and dipoles of the chunk, transposed.
    zeroed : ndarray of int
        NodeSet of the chunk whose weights are taken for 0.
    owner : Expansion
        What keeps their indices on the device.
    """

    # Values per left-out particle and particle of the chunk that are held at once, for all that is done here.
    ROWS = 4

    def __init__(self, library: Library, left_out: NodeSet, r: Array, v: Array, zeroed: Any, owner: Any) -> None:
        self.library, self.left_out = library, left_out
        self.r, self.v = r, v
        count, width = left_out.r.shape[0], r.shape[1]
        distance, difference = library.empty(count, width), library.scratch("difference", count, width)
        for axis in range(r.shape[0]):
            out = difference if axis else distance
            library.subtract(r[axis, :][None, :], left_out.r[:, axis][:, None], out)
            out *= out
            if axis:
                distance += out
        self.kernel = library.gaussian(distance)  # [K, BN]
        if len(zeroed):
            library.put_columns(self.kernel, zeroed, 0.0, owner)

    def fill(self, weights: Array) -> None:
        """Write w [K, BN]."""
        self.library.multiply(self.left_out.v @ self.v, self.kernel, weights)

    def pull_back(self, gradient: Array, centre: Array) -> tuple[Array, Array, NodeSet]:
        """dr^T [n, BN] and dv^T [d, BN] of the chunk, and the left-out particles' own gradients, from dw [K, BN].

        With h = dw w, dr_i = -2 sum_k h_ki (r_i - r_k) and dr_k = 2 sum_i h_ki (r_i - r_k) are moments of h: small
        products. Positions count from ``centre`` [n, 1], which keeps the digits of their differences.
        """
        library, transpose = self.library, self.library.xp.matrix_transpose
        h = library.scratch("difference", *gradient.shape)
        library.multiply(gradient, self.kernel, h)
        dv, own_dv = transpose(self.left_out.v) @ h, h @ transpose(self.v)
        h *= self.left_out.v @ self.v
        r, own_r = self.r - centre, transpose(self.left_out.r) - centre
        moments = library.with_ones(own_r) @ h  # [n + 1, BN]
        own_moments = library.with_ones(r) @ transpose(h)  # [n + 1, K]
        dr = -2 * (r * moments[-1, :] - moments[:-1, :])
        own_dr = -2 * (own_r * own_moments[-1, :] - own_moments[:-1, :])
        return dr, dv, NodeSet(transpose(own_dr), own_dv)
