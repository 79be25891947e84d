"""Tiles of pairwise quantities between two node sets: k(s_ij), k'(s_ij) and v_i . v_j.

Two ways to a tile of squared distances. Expanded squares, |r_i|^2 + |r_j|^2 - 2 r_i . r_j, are one small matrix
product over augmented tables; they lose digits far from the origin, so positions are centred first, and float32 has
tables of float64 beyond `EXPANSION_RADIUS`. Exact differences, one pass per dimension, are slower and always right;
potentials that are singular at s = 0 need them, and clouds that are wider still.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pn_gpu.kernels.host.gaussian import GaussianValues
from pn_gpu.kernels.host.scratch import scratch
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Particles

Array = np.ndarray[Any, np.dtype[Any]]

# The rounding error of an expanded square is about 2 |r|^2 machine epsilons, so 128 epsilons at this radius.
EXPANSION_RADIUS = 8.0
# With exact squares the sums of the gradient lose digits, differences of terms of size |r|: as many at this radius.
WIDE_RADIUS = 24.0


class NodePairs:
    """The pairs of an input and an output node set, a tile at a time.

    Parameters
    ----------
    particles : Particles
        Both node sets, NumPy arrays.
    potential : Potential
    """

    def __init__(self, particles: Particles, potential: Potential) -> None:
        r_in, v_in, r_out, v_out = particles
        centre = _centre(r_out if len(r_out) else r_in)
        self.r_in = np.subtract(r_in, centre, order="C")  # [N, n]
        self.r_out = np.subtract(r_out, centre, order="C")  # [M, n]
        self.v_in = np.ascontiguousarray(v_in)  # [N, d]
        self.v_out = np.ascontiguousarray(v_out)  # [M, d]
        self.v_out_columns = np.ascontiguousarray(v_out.T)  # [d, M]
        self.potential = potential
        squares = _squares(self.r_in), _squares(self.r_out)
        farthest_in, farthest_out = (math.sqrt(each.max(initial=0)) for each in squares)
        farthest = max(farthest_in, farthest_out)
        is_wide = r_in.dtype.itemsize < 8 and farthest > EXPANSION_RADIUS
        self.expanded = bool(potential.smooth_at_zero and farthest <= (WIDE_RADIUS if is_wide else EXPANSION_RADIUS))
        self._gaussian: GaussianValues | None = None
        if potential.name == "gaussian":
            self._gaussian = GaussianValues(self.r_in.dtype, (farthest_in + farthest_out) ** 2)
        if not self.expanded:
            # Centring rounds particles that are nearer to the origin than to the centre, and spreads a NaN.
            self.r_in, self.r_out = r_in, r_out
        elif is_wide:
            precise = [np.subtract(r, centre, dtype=np.float64) for r in (r_in, r_out)]
            self._make_tables(*precise, *map(_squares, precise))
        else:
            self._make_tables(self.r_in, self.r_out, *squares)

    @property
    def is_gaussian(self) -> bool:
        """Whether k' = -k."""
        return self._gaussian is not None

    def _make_tables(self, r_in: Array, r_out: Array, squares_in: Array, squares_out: Array) -> None:
        """Tables A [N, n + 2] and C [n + 2, M] whose product is -s, in the Gaussian's unit if it is one."""
        n, unit = r_in.shape[1], r_in.dtype.type(1 if self._gaussian is None else self._gaussian.unit)
        self._table_in = np.empty((len(r_in), n + 2), r_in.dtype)
        np.multiply(r_in, 2 * unit, out=self._table_in[:, :n])
        np.multiply(squares_in, -unit, out=self._table_in[:, n])
        self._table_in[:, n + 1] = 1
        self._table_out = np.empty((n + 2, len(r_out)), r_out.dtype)
        self._table_out[:n] = r_out.T
        self._table_out[n] = 1
        np.multiply(squares_out, -unit, out=self._table_out[n + 1])

    def _negative_squares(self, rows: slice, columns: slice, out: Array) -> None:
        """Write the tile of -s to ``out``, from the tables and in their unit."""
        if self._table_in.dtype == out.dtype:
            np.matmul(self._table_in[rows], self._table_out[:, columns], out=out)
            return
        precise = scratch("squares", out.shape, self._table_in.dtype)
        out[...] = np.matmul(self._table_in[rows], self._table_out[:, columns], out=precise)

    def _squared_distances(self, rows: slice, columns: slice, s: Array, spare: Array) -> None:
        """Write the tile of s, never negative, to ``s``."""
        if self.expanded:
            self._negative_squares(rows, columns, s)
            np.negative(s, out=s)
            np.maximum(s, 0, out=s)
            return
        s[:] = 0
        for axis in range(self.r_in.shape[1]):
            self.differences(axis, rows, columns, spare)
            spare *= spare
            s += spare

    def differences(self, axis: int, rows: slice, columns: slice, out: Array) -> None:
        """Write r_i - r_j along one axis to ``out`` [BI, BJ]."""
        np.subtract(self.r_in[rows, axis, None], self.r_out[None, columns, axis], out=out)

    def values(self, rows: slice, columns: slice, k: Array, spare: Array) -> None:
        """Write the tile of k(s) to ``k`` [BI, BJ]."""
        if self._gaussian is None:
            self._squared_distances(rows, columns, k, spare)
            k[:] = self.potential.value(k)
            return
        if self.expanded:
            self._negative_squares(rows, columns, k)
        else:
            self._squared_distances(rows, columns, k, spare)
            k *= -self._gaussian.unit
        self._gaussian.exponentiate(k)

    def derivatives(self, rows: slice, columns: slice, dk: Array, spare: Array) -> None:
        """Write the tile of k'(s) to ``dk`` [BI, BJ]."""
        if self.is_gaussian:
            self.values(rows, columns, dk, spare)
            np.negative(dk, out=dk)
        else:
            self._squared_distances(rows, columns, dk, spare)
            dk[:] = self.potential.derivative(dk)

    def dipole_products(self, rows: slice, columns: slice, q: Array) -> None:
        """Write the tile of v_i . v_j to ``q`` [BI, BJ]."""
        np.matmul(self.v_in[rows], self.v_out_columns[:, columns], out=q)

    def weights(self, rows: slice, columns: slice, w: Array, spare: Array) -> None:
        """Write the tile of w_ij = (v_i . v_j) k(s_ij) to ``w`` [BI, BJ]."""
        self.values(rows, columns, w, spare)
        self.dipole_products(rows, columns, spare)
        w *= spare


def _squares(r: Array) -> Array:
    """|r|^2 of positions [N, n]."""
    return np.einsum("ij,ij->i", r, r)


def _centre(r: Array) -> Array:
    """The mean position; np.mean spends longer on its way to the same sum."""
    return np.add.reduce(r, axis=0) / r.dtype.type(max(1, len(r)))
