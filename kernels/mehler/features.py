"""Features of one node set, a chunk of particles at a time, and the way back from their gradient to the
particles."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.expansion import Expansion

Array = Any

# Every f_k of a particle so far out is exactly 0 in float64.
FAR = 1e5


class NodeFeatures:
    """The features Phi_a(r_i) of a node set, made anew for every chunk: that is cheaper than to keep them.

    Parameters
    ----------
    library : Library
    expansion : Expansion
    r, v : array, [N, n] and [N, d]
        Positions and dipoles.
    outside : ndarray of int
        Particles the expansion leaves out: all their features are 0.
    """

    def __init__(
        self, library: Library, expansion: Expansion, r: Array, v: Array, outside: np.ndarray[Any, Any]
    ) -> None:
        self.library = library
        self.expansion = expansion
        self.r, self.v = r, v
        self.dim = v.shape[1]
        self._outside = _mask(library, r.shape[0], outside) if len(outside) else None  # [N]
        self._far = library.xp.asarray(FAR, dtype=library.dtype, device=library.device)
        self._centre = library.constant(expansion.centre)[:, None]  # [n, 1]
        self._rates = library.constant(expansion.rates)[:, None]  # [n, 1]
        self._rotation = library.constant(expansion.rotation)  # [n, n]

    @cached_property
    def _lowered(self) -> list[tuple[Array, Array, Array]]:
        library = self.library
        return [
            (
                library.constant(upper, library.xp.int64),
                library.constant(lower, library.xp.int64),
                library.constant(slope)[:, None],
            )
            for upper, lower, slope in self.expansion.lowered
        ]

    @property
    def rows(self) -> int:
        """Rows of memory that one chunk of features, folded features and their gradient take."""
        return (2 * self.dim + 5) * self.expansion.num_features + self.expansion.num_axes * (
            max(self.expansion.lengths) + 2
        )

    def make_workspace(self, size: int) -> Workspace:
        """Memory for chunks of at most ``size`` particles."""
        return Workspace(self.library, self.expansion, self.dim, size)

    def coordinates(self, chunk: slice) -> Array:
        """Centred and rotated positions [n, BN]; those of left-out particles are far away."""
        library = self.library
        r = library.cast(self.r[chunk, :], library.dtype)
        u = library.xp.matrix_transpose(self._rotation) @ (library.xp.matrix_transpose(r) - self._centre)
        return u if self._outside is None else library.xp.where(self._outside[chunk][None, :], self._far, u)

    def dipoles(self, chunk: slice) -> Array:
        """v^T [d, BN]."""
        v = self.library.cast(self.v[chunk, :], self.library.dtype)
        return self.library.xp.asarray(self.library.xp.matrix_transpose(v), copy=True)

    def features(self, u: Array, work: Workspace) -> Array:
        """Phi [P, BN] at the coordinates u [n, BN]."""
        width = u.shape[1]
        f = self._hermite(u, work)  # [K, n, BN]
        product = f[: self.expansion.lengths[0], 0, :]
        for axis, blocks in enumerate(self.expansion.levels, start=1):
            extended = work.products[axis - 1][:, :width]
            for prefix, start, count in blocks:
                self.library.multiply(f[:count, axis, :], product[prefix, :], extended[start : start + count, :])
            product = extended
        return product

    def _hermite(self, u: Array, work: Workspace) -> Array:
        """f_k(u), all axes at once: [K, n, BN]."""
        multiply, t, (f, y, below) = self.library.multiply, self._rates, work.axes(u.shape[1])
        multiply(u, u, y)
        y *= t - 1
        f[0, :, :] = self.library.xp.exp(y)
        f[0, :, :] *= (1 - t * t) ** 0.25
        multiply(u, (2 * (1 - t * t)) ** 0.5, y)
        multiply(y, f[0, :, :], f[1, :, :])
        for k in range(1, f.shape[0] - 1):
            f_next = f[k + 1, :, :]
            multiply(y, f[k, :, :], f_next)
            f_next *= 1 / math.sqrt(k + 1)
            multiply(f[k - 1, :, :], t * math.sqrt(k / (k + 1)), below)
            f_next -= below
        return f

    def fold(self, phi: Array, v: Array, work: Workspace, constant: Array | None = None) -> Array:
        """v_d Phi_a as rows (d, a), and ``constant`` [BN] as one more, in the products' dtype: [d P (+ 1), BN]."""
        library, width = self.library, phi.shape[1]
        rows = self.dim * phi.shape[0]
        by_component = library.xp.reshape(work.folded[:rows, :width], (self.dim, phi.shape[0], width))
        library.multiply(phi[None, :, :], v[:, None, :], by_component)
        if constant is None:
            return library.cast(work.folded[:rows, :width], library.product_dtype)
        work.folded[rows, :width] = library.cast(constant, library.dtype)
        return library.cast(work.folded[:, :width], library.product_dtype)

    def pull_back(self, gradient: Array, phi: Array, u: Array, v: Array, work: Workspace) -> tuple[Array, Array]:
        """dr^T [n, BN] and dv^T [d, BN] from the gradient [d, P, BN] of the folded features."""
        library, expansion = self.library, self.expansion
        dv = library.sum_of_products(gradient, phi)
        pull = library.weighted_sum(gradient, v, work.gathered[2][:, : u.shape[1]])  # sum_d v_d dA_da: [P, BN]
        along = library.xp.sum(v * dv, axis=0)  # sum_a pull_a Phi_a
        du = library.empty(*u.shape)
        for axis in range(expansion.num_axes):
            du[axis, :] = (-2 * (1 - float(expansion.rates[axis]))) * u[axis, :] * along
            upper, lower, slope = self._lowered[axis]
            if upper.shape[0]:
                raised = library.take_rows(pull, upper, work.gathered[0][:, : u.shape[1]])
                raised *= slope
                du[axis, :] += library.sum_of_products(
                    raised, library.take_rows(phi, lower, work.gathered[1][:, : u.shape[1]])
                )
        return self._rotation @ du, dv


class Workspace:
    """Memory that all chunks of one thread write to in turn; there is one at a time in a thread."""

    def __init__(self, library: Library, expansion: Expansion, dim: int, size: int) -> None:
        features, axes = expansion.num_features, expansion.num_axes
        products = [blocks[-1].start + blocks[-1].length for blocks in expansion.levels]
        gathered = features if library.is_numpy else 0
        lengths = [
            (max(*expansion.lengths, 2) + 2) * axes,
            *products,
            dim * features + 1,
            dim * features,
            *3 * [gathered],
        ]
        memory = library.scratch(sum(lengths) * size)
        parts, start = [], 0
        for length in lengths:
            parts.append(library.xp.reshape(memory[start : start + length * size], (length, size)))
            start += length * size
        self._axes = library.xp.reshape(parts[0], (-1, axes, size))
        self.products = parts[1 : 1 + len(products)]
        self.folded = parts[-5]
        self.gradient = parts[-4]
        self.gathered = parts[-3:]

    def axes(self, width: int) -> tuple[Array, Array, Array]:
        """Memory for the f_k [K, n, BN] and for two rows [n, BN] of their recurrence."""
        axes = self._axes[:, :, :width]
        return axes[2:, :, :], axes[0, :, :], axes[1, :, :]


def _mask(library: Library, length: int, indices: np.ndarray[Any, Any]) -> Array:
    """True at ``indices``: [N]."""
    mask = np.zeros(length, dtype=bool)
    mask[indices] = True
    return library.xp.asarray(mask.tolist(), device=library.device) if not library.is_numpy else mask
