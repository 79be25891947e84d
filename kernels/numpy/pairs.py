"""Tiles of pairwise quantities between two node sets: k(s_ij), k'(s_ij) and v_i . v_j.

Two ways to a tile of squared distances. Expanded squares, |r_i|^2 + |r_j|^2 - 2 r_i . r_j, are one small matrix
product over augmented tables; they lose digits far from the origin, so positions are centred first and the way is
taken only while every particle stays within `EXPANSION_RADIUS` of the centre. Exact differences, one pass per
dimension, are slower and always right; potentials that are singular at s = 0 need them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.kernels.numpy.gaussian import GaussianValues
from pn_gpu.kernels.potentials import Potential

Array = np.ndarray[Any, np.dtype[Any]]

# The rounding error of an expanded square is about 2 |r|^2 machine epsilons, so 128 epsilons at this radius.
EXPANSION_RADIUS = 8.0


class NodePairs:
    """The pairs of an input and an output node set, a tile at a time.

    Parameters
    ----------
    r_in, v_in : ndarray, [N, n] and [N, d]
        Positions and dipoles of the input particles.
    r_out, v_out : ndarray, [M, n] and [M, d]
        The same of the output particles.
    potential : Potential
    """

    def __init__(self, r_in: Array, v_in: Array, r_out: Array, v_out: Array, potential: Potential) -> None:
        centre = _centre(r_out if len(r_out) else r_in)
        self.r_in = np.subtract(r_in, centre, order="C")  # [N, n]
        self.r_out = np.subtract(r_out, centre, order="C")  # [M, n]
        self.v_in = np.ascontiguousarray(v_in)  # [N, d]
        self.v_out = np.ascontiguousarray(v_out)  # [M, d]
        self.v_out_columns = np.ascontiguousarray(v_out.T)  # [d, M]
        self.potential = potential
        squares_in = np.einsum("ij,ij->i", self.r_in, self.r_in)
        squares_out = np.einsum("ij,ij->i", self.r_out, self.r_out)
        farthest_in, farthest_out = squares_in.max(initial=0), squares_out.max(initial=0)
        self.expanded = bool(potential.smooth_at_zero and max(farthest_in, farthest_out) <= EXPANSION_RADIUS**2)
        self._gaussian: GaussianValues | None = None
        if potential.name == "gaussian":
            largest = float(np.sqrt(farthest_in) + np.sqrt(farthest_out)) ** 2
            self._gaussian = GaussianValues(self.r_in.dtype, largest)
        if self.expanded:
            self._make_tables(squares_in, squares_out)
        else:
            # Centring rounds particles that are nearer to the origin than to the centre, and spreads a NaN.
            self.r_in, self.r_out = r_in, r_out

    @property
    def is_gaussian(self) -> bool:
        """Whether k' = -k."""
        return self._gaussian is not None

    def _make_tables(self, squares_in: Array, squares_out: Array) -> None:
        """Tables A [N, n + 2] and C [n + 2, M] whose product is -s, in the Gaussian's unit if it is one."""
        dtype, n = self.r_in.dtype, self.r_in.shape[1]
        unit = dtype.type(1) if self._gaussian is None else self._gaussian.unit
        self._table_in = np.empty((len(self.r_in), n + 2), dtype)
        np.multiply(self.r_in, 2 * unit, out=self._table_in[:, :n])
        np.multiply(squares_in, -unit, out=self._table_in[:, n])
        self._table_in[:, n + 1] = 1
        self._table_out = np.empty((n + 2, len(self.r_out)), dtype)
        self._table_out[:n] = self.r_out.T
        self._table_out[n] = 1
        np.multiply(squares_out, -unit, out=self._table_out[n + 1])

    def _squared_distances(self, rows: slice, columns: slice, s: Array, scratch: Array) -> None:
        """Write the tile of s, never negative, to ``s``."""
        if self.expanded:
            np.matmul(self._table_in[rows], self._table_out[:, columns], out=s)
            np.negative(s, out=s)
            np.maximum(s, 0, out=s)
            return
        s[:] = 0
        for axis in range(self.r_in.shape[1]):
            self.differences(axis, rows, columns, scratch)
            scratch *= scratch
            s += scratch

    def differences(self, axis: int, rows: slice, columns: slice, out: Array) -> None:
        """Write r_i - r_j along one axis to ``out`` [BI, BJ]."""
        np.subtract(self.r_in[rows, axis, None], self.r_out[None, columns, axis], out=out)

    def values(self, rows: slice, columns: slice, k: Array, scratch: Array) -> None:
        """Write the tile of k(s) to ``k`` [BI, BJ]."""
        if self._gaussian is None:
            self._squared_distances(rows, columns, k, scratch)
            k[:] = self.potential.value(k)
            return
        if self.expanded:
            np.matmul(self._table_in[rows], self._table_out[:, columns], out=k)
        else:
            self._squared_distances(rows, columns, k, scratch)
            k *= -self._gaussian.unit
        self._gaussian.exponentiate(k)

    def derivatives(self, rows: slice, columns: slice, dk: Array, scratch: Array) -> None:
        """Write the tile of k'(s) to ``dk`` [BI, BJ]."""
        if self.is_gaussian:
            self.values(rows, columns, dk, scratch)
            np.negative(dk, out=dk)
        else:
            self._squared_distances(rows, columns, dk, scratch)
            dk[:] = self.potential.derivative(dk)

    def dipole_products(self, rows: slice, columns: slice, q: Array) -> None:
        """Write the tile of v_i . v_j to ``q`` [BI, BJ]."""
        np.matmul(self.v_in[rows], self.v_out_columns[:, columns], out=q)

    def weights(self, rows: slice, columns: slice, w: Array, scratch: Array) -> None:
        """Write the tile of w_ij = (v_i . v_j) k(s_ij) to ``w`` [BI, BJ]."""
        self.values(rows, columns, w, scratch)
        self.dipole_products(rows, columns, scratch)
        w *= scratch


def _centre(r: Array) -> Array:
    """The mean position; np.mean spends longer on its way to the same sum."""
    return np.add.reduce(r, axis=0) / r.dtype.type(max(1, len(r)))
