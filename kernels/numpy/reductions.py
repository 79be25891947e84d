"""Sums of the tiles of G = x^T dz down to the particle gradients.

With k = k(s_ij), h = k'(s_ij), q = v_i . v_j and H = G h, the input particle i needs (and, with the two node sets
exchanged, so does the output particle j)

    dv_i = sum_j G k v_j
    dr_i = 2 sum_j H q (r_i - r_j)

`MomentReduction` moves the dipoles out of the tile,

    dr_i = 2 sum_a v_ia (r_i sum_j H v_ja - sum_j H v_ja r_j),

so one skinny product of H with a table [v_j, v_j r_j] of d (n + 1) columns carries all of dr_i and q is never formed;
for the Gaussian h = -k, and the same product carries dv_i too. `DifferenceReduction` sums (r_i - r_j) as it stands,
for positions or potentials where the difference of the two sums would lose digits.
"""

from __future__ import annotations

import copy
from typing import Protocol

import numpy as np

from pn_gpu.kernels.numpy.pairs import Array, NodePairs


class Reduction(Protocol):
    """Sums over tiles: of the rows it is given, and of all columns."""

    def new_group(self) -> Reduction:
        """A reduction for other rows: it writes to the same row sums and has column sums of its own."""

    def add(self, rows: slice, columns: slice, g: Array, k: Array, scratch: Array) -> None:
        """Add one tile of G [BI, BJ], given its k(s) [BI, BJ]; all three arrays are overwritten."""

    def merge(self, group: Reduction) -> None:
        """Add the column sums of a group."""

    def gradients(self) -> tuple[Array, Array, Array, Array]:
        """dr_in [N, n], dv_in [N, d], dr_out [M, n] and dv_out [M, d]."""


def make_reduction(pairs: NodePairs) -> Reduction:
    """The reduction that suits the potential and the positions."""
    return MomentReduction(pairs) if pairs.expanded else DifferenceReduction(pairs)


class _DipoleSums:
    """sum_j G k v_j and sum_i G k v_i."""

    def __init__(self, pairs: NodePairs) -> None:
        self.pairs = pairs
        self.dv_in = np.zeros_like(pairs.v_in)  # [N, d]
        self.dv_out = np.zeros_like(pairs.v_out_columns)  # [d, M]

    def new_group(self) -> _DipoleSums:
        group = copy.copy(self)
        group.dv_out = np.zeros_like(self.dv_out)
        return group

    def add(self, rows: slice, columns: slice, g: Array, k: Array, scratch: Array) -> None:
        np.multiply(g, k, out=scratch)
        self.dv_in[rows] += scratch @ self.pairs.v_out[columns]
        self.dv_out[:, columns] += self.pairs.v_in[rows].T @ scratch

    def merge(self, group: _DipoleSums) -> None:
        self.dv_out += group.dv_out


class MomentReduction:
    """Particle gradients from moments of H about the centre of the positions."""

    def __init__(self, pairs: NodePairs) -> None:
        self.pairs = pairs
        self._table_in = _moment_table(pairs.v_in, pairs.r_in)  # [(n + 1) d, N]
        table_out = _moment_table(pairs.v_out, pairs.r_out)
        self._table_out = np.ascontiguousarray(table_out.T)  # [M, (n + 1) d]
        self._moments_in = np.zeros(self._table_in.shape[::-1], self._table_in.dtype)  # [N, (n + 1) d]
        self._moments_out = np.zeros(table_out.shape, table_out.dtype)  # [(n + 1) d, M]
        self._dipoles = None if pairs.is_gaussian else _DipoleSums(pairs)

    def new_group(self) -> MomentReduction:
        group = copy.copy(self)
        group._moments_out = np.zeros_like(self._moments_out)
        group._dipoles = self._dipoles and self._dipoles.new_group()
        return group

    def add(self, rows: slice, columns: slice, g: Array, k: Array, scratch: Array) -> None:
        if self._dipoles is not None:
            self._dipoles.add(rows, columns, g, k, scratch)
            self.pairs.derivatives(rows, columns, k, scratch)
        g *= k
        self._moments_in[rows] += g @ self._table_out[columns]
        self._moments_out[:, columns] += self._table_in[:, rows] @ g

    def merge(self, group: Reduction) -> None:
        assert isinstance(group, MomentReduction)
        self._moments_out += group._moments_out
        if self._dipoles is not None and group._dipoles is not None:
            self._dipoles.merge(group._dipoles)

    def gradients(self) -> tuple[Array, Array, Array, Array]:
        pairs, moments_in, moments_out = self.pairs, np.ascontiguousarray(self._moments_in.T), self._moments_out
        # The Gaussian's moments are those of G k = -H.
        factor = -2 if self._dipoles is None else 2
        dr_in = _position_gradient(moments_in, pairs.v_in, pairs.r_in, factor)
        dr_out = _position_gradient(moments_out, pairs.v_out, pairs.r_out, factor)
        if self._dipoles is None:
            d = pairs.v_in.shape[1]
            return dr_in, np.ascontiguousarray(moments_in[:d].T), dr_out, np.ascontiguousarray(moments_out[:d].T)
        return dr_in, self._dipoles.dv_in, dr_out, np.ascontiguousarray(self._dipoles.dv_out.T)


def _moment_table(v: Array, r: Array) -> Array:
    """[v, v r_1, ..., v r_n], a column a particle: [(n + 1) d, N]; the long axis is the inner one."""
    v_columns, r_columns = np.ascontiguousarray(v.T), np.ascontiguousarray(r.T)
    table = np.empty((r.shape[1] + 1, *v_columns.shape), v.dtype)
    table[0] = v_columns
    np.multiply(r_columns[:, None, :], v_columns, out=table[1:])
    return table.reshape(table.shape[0] * table.shape[1], len(v))


def _position_gradient(moments: Array, v: Array, r: Array, factor: int) -> Array:
    """factor sum_a v_ia (r_i sum_j H v_ja - sum_j H v_ja r_j): [N, n], from moments [(n + 1) d, N]."""
    parts = moments.reshape(r.shape[1] + 1, v.shape[1], len(v))
    weighted = np.add.reduce(parts * v.T, axis=1)  # [n + 1, N]
    gradient = r.T * weighted[0]
    gradient -= weighted[1:]
    gradient *= factor
    return np.ascontiguousarray(gradient.T)


class DifferenceReduction:
    """Particle gradients from the exact differences r_i - r_j."""

    def __init__(self, pairs: NodePairs) -> None:
        self.pairs = pairs
        self.dr_in = np.zeros_like(pairs.r_in)
        self.dr_out = np.zeros_like(pairs.r_out)
        self._dipoles = _DipoleSums(pairs)

    def new_group(self) -> DifferenceReduction:
        group = copy.copy(self)
        group.dr_out = np.zeros_like(self.dr_out)
        group._dipoles = self._dipoles.new_group()
        return group

    def add(self, rows: slice, columns: slice, g: Array, k: Array, scratch: Array) -> None:
        self._dipoles.add(rows, columns, g, k, scratch)
        self.pairs.derivatives(rows, columns, k, scratch)
        g *= k
        self.pairs.dipole_products(rows, columns, scratch)
        g *= scratch
        for axis in range(self.dr_in.shape[1]):
            self.pairs.differences(axis, rows, columns, scratch)
            scratch *= g
            self.dr_in[rows, axis] += 2 * scratch.sum(axis=1)
            self.dr_out[columns, axis] -= 2 * scratch.sum(axis=0)

    def merge(self, group: Reduction) -> None:
        assert isinstance(group, DifferenceReduction)
        self.dr_out += group.dr_out
        self._dipoles.merge(group._dipoles)

    def gradients(self) -> tuple[Array, Array, Array, Array]:
        return self.dr_in, self._dipoles.dv_in, self.dr_out, np.ascontiguousarray(self._dipoles.dv_out.T)
