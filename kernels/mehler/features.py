"""Features of one node set, a chunk of particles at a time, and the way back from their gradient to the
positions."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.expansion import Expansion

Array = Any

# Every f_k of a particle so far out is exactly 0 in float64.
FAR = 1e5
NOBODY = np.zeros(0, dtype=np.int64)


class NodeFeatures:
    """The features Phi_a(r_i) of a node set, made anew for every chunk.

    Parameters
    ----------
    library : Library
    expansion : Expansion
    left_out : ndarray of int
        Particles the expansion leaves out, ascending: all their features are 0.
    """

    def __init__(self, library: Library, expansion: Expansion, left_out: np.ndarray[Any, Any] = NOBODY) -> None:
        self.library = library
        self.expansion = expansion
        self.left_out = left_out
        constants = library.kept(expansion, "features", self._constants)
        self._factor, self._scale, self._decay, self.centre, self._rotation, self._levels = constants

    def _constants(self) -> tuple[Array, Array, Array, Array, Array, list[tuple[Array, Array]]]:
        library, expansion = self.library, self.expansion
        factor, scale = expansion.recurrence
        return (
            library.constant(factor.T)[:, :, None],  # [n, K, 1]
            library.constant(scale.T)[:, :, None],  # [n, K, 1]
            library.constant(expansion.rates - 1)[:, None],  # [n, 1]
            library.constant(expansion.centre)[:, None],  # [n, 1]
            library.constant(expansion.rotation),  # [n, n]
            [(library.rows(prefix), library.rows(degree)) for prefix, degree in expansion.levels],
        )

    @cached_property
    def _lowered(self) -> list[tuple[Array, Array]]:
        library, lowered = self.library, self.expansion.lowered

        def make() -> list[tuple[Array, Array]]:
            return [(library.rows(lower), library.constant(slope)[None, :]) for lower, slope in lowered]

        return library.kept(self.expansion, "lowered", make)

    @property
    def num_hermite(self) -> int:
        """How many f_k there are, of all axes."""
        return max(self.expansion.lengths) * self.expansion.num_axes

    def coordinates(self, r: Array, where: slice) -> Array:
        """Centred and rotated positions [n, BN] from r^T [n, BN]; those of left-out particles are far away."""
        library = self.library
        u = library.xp.matrix_transpose(self._rotation) @ (r - self.centre)
        left_out = within(self.left_out, where)
        if len(left_out):
            library.put_columns(u, left_out, FAR, self.expansion)
        return u

    def features(self, u: Array) -> Array:
        """Phi [P, BN] at the coordinates u [n, BN]."""
        return self.products(self.hermite(u), self.library.empty(self.expansion.num_features, u.shape[1]))

    def hermite(self, u: Array) -> Array:
        """f_k(u), all axes at once: [n, K, BN]."""
        library, (axes, width), degrees = self.library, u.shape, self._factor.shape[1]
        powers, h = (library.scratch(name, axes, degrees, width) for name in ("powers", "hermite"))
        library.multiply(u[:, None, :], self._factor, powers)  # a_k u
        square = u * u
        square *= self._decay
        h[:, 0, :] = library.xp.exp(square)
        with np.errstate(all="ignore"):  # degrees that a narrow axis does not need may overflow
            for k in range(degrees - 1):
                following = h[:, k + 1, :]
                library.multiply(powers[:, k, :], h[:, k, :], following)
                if k > 0:
                    following -= h[:, k - 1, :]
            h *= self._scale
        return h

    def products(self, f: Array, out: Array) -> Array:
        """Phi [P, BN] from all f_k [n, K, BN], written to ``out``."""
        library, width = self.library, f.shape[2]
        product = f[0, : self.expansion.lengths[0], :]
        for axis, (prefix, degree) in enumerate(self._levels, start=1):
            shape = prefix.shape[0], width
            extended = out if axis == len(self._levels) else library.scratch(f"products of {axis}", *shape)
            left = library.take_rows(product, prefix, extended)
            right = library.take_rows(f[axis, :, :], degree, library.scratch("right", *shape))
            library.multiply(left, right, extended)
            product = extended
        if not self._levels:
            out[...] = product
        return out

    def pull_back(self, pull: Array, along: Array, phi: Array, u: Array) -> Array:
        """dr^T [n, BN] from the gradient ``pull`` [P, BN] of the features and ``along`` = sum_a pull_a Phi_a [BN]."""
        library = self.library
        du = library.empty(*u.shape)
        for axis, (lower, slope) in enumerate(self._lowered):
            below = library.take_rows(phi, lower, library.scratch("below", *phi.shape))
            below *= pull
            du[axis, :] = (slope @ below)[0, :]
            du[axis, :] -= (2 * (1 - float(self.expansion.rates[axis]))) * u[axis, :] * along
        return self._rotation @ du


def within(indices: np.ndarray[Any, Any], chunk: slice) -> np.ndarray[Any, Any]:
    """Those of the ascending ``indices`` that lie in ``chunk``, counted from its start."""
    first, last = np.searchsorted(indices, (chunk.start, chunk.stop))
    return indices[first:last] - chunk.start
