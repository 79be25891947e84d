"""The two factors of W = A C^T, chunk by chunk: features times dipoles, then the exact rows of left-out particles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.exact import ExactWeights, Particles
from pn_gpu.kernels.mehler.expansion import Approximation, Expansion
from pn_gpu.kernels.mehler.features import NOBODY, NodeFeatures, within

Array = Any


@dataclass
class Chunk:
    """What is known of a few particles; all is transposed, particles along the last axis."""

    where: slice
    part: slice  # of the panel
    u: Array  # [n, BN]
    v: Array  # [d, BN]
    phi: Array  # [P, BN]
    exact: ExactWeights | None


@dataclass
class Panel:
    """The factor's rows for many particles, and the chunks they were made from.

    The memory of the rows has room for one more, and serves again once they are not needed any more.
    """

    where: slice
    memory: Array  # [R + 1, BP]
    rows: Array  # [R, BP], in the products' dtype
    chunks: list[Chunk]


class Factor:
    """A^T [R, N] of the inputs, or C^T [R, M] of the outputs.

    Rows are v_d Phi_a in the order (d, a), then one for every left-out output, then one for every left-out input: the
    exact weights with them if they are of the other node set, an indicator if they are of this one.

    Parameters
    ----------
    library : Library
    expansion : Expansion
    r, v : array, [N, n] and [N, d]
        Positions and dipoles of the node set.
    own : ndarray of int
        Its left-out particles.
    others : Particles
        Those of the other node set.
    is_input : bool
        Which of the two it is: weights between two left-out particles are with the inputs.
    bias : array, [N], optional
        One more row, for a row of ones in what it is multiplied with: cheaper than a pass over [B, M].
    """

    def __init__(
        self,
        library: Library,
        expansion: Expansion,
        r: Array,
        v: Array,
        own: Any,
        others: Particles,
        is_input: bool,
        bias: Array | None = None,
    ) -> None:
        self.library = library
        self.features = NodeFeatures(library, expansion, own)
        self.expansion = expansion
        self.r, self.v, self.bias = r, v, bias
        self.own, self.others, self.is_input = own, others, is_input
        self.length, self.dim = v.shape
        self.num_folded = self.dim * expansion.num_features
        count = others.r.shape[0]
        first_exact = self.num_folded + (0 if is_input else len(own))
        first_own = self.num_folded + (count if is_input else 0)
        self._exact_rows = slice(first_exact, first_exact + count)
        self._own_rows = slice(first_own, first_own + len(own))
        self.num_rows = self.num_folded + count + len(own) + (bias is not None)

    @property
    def values(self) -> int:
        """All values per particle that a panel and a chunk hold at once."""
        features = self.expansion.num_features
        exact = ExactWeights.ROWS * self.others.r.shape[0]
        return 2 * (self.num_rows + 1) + 4 * features + 2 * self.features.num_hermite + exact

    def panel(self, where: slice) -> Panel:
        """Features, exact weights and rows of the particles ``where``; the panel before it is overwritten."""
        library, features, width = self.library, self.expansion.num_features, where.stop - where.start
        r, v = library.columns(self.r[where, :]), library.columns(self.v[where, :])
        u = self.features.coordinates(r, where)
        f = self.features.hermite(u)
        name = "inputs" if self.is_input else "outputs"
        memory = library.scratch(f"rows of {name}", self.num_rows + 1, width)
        rows = memory[: self.num_rows, :]
        phi = library.scratch(f"features of {name}", features * width)

        def make(part: slice) -> Chunk:
            at = slice(where.start + part.start, where.start + part.stop)
            own_phi = library.xp.reshape(phi[features * part.start : features * part.stop], (features, -1))
            exact = None
            if self.others.r.shape[0]:
                nil = NOBODY if self.is_input else within(self.own, at)
                exact = ExactWeights(library, self.others, r[:, part], v[:, part], nil)
            chunk = Chunk(at, part, u[:, part], v[:, part], self.features.products(f[:, :, part], own_phi), exact)
            self._fill(rows[:, part], chunk)
            return chunk

        chunks = library.map(make, library.chunks(width, features))
        return Panel(where, memory, library.cast(rows, library.product_dtype), chunks)

    def _fill(self, rows: Array, chunk: Chunk) -> None:
        """Write the factor's rows [R, BN] of a chunk."""
        features = chunk.phi.shape[0]
        for component in range(self.dim):
            folded = rows[component * features : (component + 1) * features, :]
            self.library.multiply(chunk.phi, chunk.v[component, :], folded)
        if chunk.exact is not None:
            chunk.exact.fill(rows[self._exact_rows, :])
        if len(self.own):
            rows[self._own_rows, :] = 0.0
            before = self._own_rows.start + int((self.own < chunk.where.start).sum())
            for position, column in enumerate(within(self.own, chunk.where).tolist()):
                rows[before + position, column] = 1.0
        if self.bias is not None:
            rows[-1, :] = self.library.cast(self.bias[chunk.where], self.library.dtype)

    def pull_back(self, chunk: Chunk, gradient: Array) -> tuple[Array, Array, Particles | None]:
        """dr^T [n, BN], dv^T [d, BN] and the gradients of ``others`` from that of the factor's rows [R, BN]."""
        library, (features, width) = self.library, chunk.phi.shape
        by_component = library.xp.reshape(gradient[: self.num_folded, :], (self.dim, features, width))
        dv = library.sum_of_products(by_component, chunk.phi)
        pull = library.weighted_sum(by_component, chunk.v)
        along = library.xp.sum(chunk.v * dv, axis=0)
        dr = self.features.pull_back(pull, along, chunk.phi, chunk.u)
        if chunk.exact is None:
            return dr, dv, None
        exact_dr, exact_dv, of_others = chunk.exact.pull_back(gradient[self._exact_rows, :], self.features.centre)
        return dr + exact_dr, dv + exact_dv, of_others


class Panels:
    """All panels of a factor: kept where there is but one, else made anew at every pass.

    Parameters
    ----------
    factor : Factor
    budget : int
        Bytes for the panels in hand of both node sets.
    """

    def __init__(self, factor: Factor, budget: int) -> None:
        self._factor = factor
        self.num_rows = factor.num_rows
        self._slices = factor.library.panels(factor.length, factor.num_rows, factor.values, budget)
        self._only: Panel | None = None

    def __iter__(self) -> Iterator[Panel]:
        for where in self._slices:
            panel = self._only or self._factor.panel(where)
            if len(self._slices) == 1:
                self._only = panel
            yield panel


def make_factors(
    library: Library,
    approximation: Approximation,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None = None,
) -> tuple[Factor, Factor]:
    """A and C."""
    expansion, rows, columns = approximation.expansion, approximation.outside_in, approximation.outside_out

    def particles(r: Array, v: Array, indices: Any) -> Particles:
        return Particles(library.pick(r, indices), library.pick(v, indices))

    inputs = Factor(library, expansion, r_in, v_in, rows, particles(r_out, v_out, columns), True)
    outputs = Factor(library, expansion, r_out, v_out, columns, particles(r_in, v_in, rows), False, bias)
    return inputs, outputs
