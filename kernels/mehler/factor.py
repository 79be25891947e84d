"""The two factors of W = A C^T, block by block: features times dipoles, then the exact rows of left-out particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.exact import ExactWeights, NodeSet
from pn_gpu.kernels.mehler.expansion import Approximation, Expansion
from pn_gpu.kernels.mehler.features import NOBODY, NodeFeatures, within
from pn_gpu.kernels.room import Particles

Array = Any

# Bytes that features may hold at any time.
FEATURE_BUDGET = 256 << 20
# What a node set's blocks may take to be kept from the forward to the backward.
KEPT_BYTES = 2**25
# Values of f_k that the caller's thread makes for all blocks: their many short calls would hold up one another.
SHORT_VALUES = 1 << 17


class Axes(NamedTuple):
    """What the features of some particles are made from; particles lie along the last axis."""

    r: Array  # [n, BN]
    v: Array  # [d, BN]
    u: Array  # [n, BN]
    f: Array  # [n, K, BN]


@dataclass
class Block:
    """The factor's rows for some particles, and what they were made from; particles lie along the last axis."""

    where: slice
    u: Array  # [n, BN]
    v: Array  # [d, BN]
    phi: Array  # [P, BN]
    exact: ExactWeights | None
    rows: Array  # [R, BN], or [R + 1, BN] with the bias, in the products' dtype


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
    left_out : ndarray of int
        Its left-out particles.
    others : NodeSet
        Those of the other node set.
    is_input : bool
        Which of the two it is: weights between two left-out particles are with the inputs.
    bias : array, [N], optional
        One more row, for a row of ones in what it is multiplied with: cheaper than a pass over [B, M].
    keep : bool, default False
        Whether blocks are to be kept for another pass, if all together are small enough.
    """

    def __init__(
        self,
        library: Library,
        expansion: Expansion,
        r: Array,
        v: Array,
        left_out: Any,
        others: NodeSet,
        is_input: bool,
        bias: Array | None = None,
        keep: bool = False,
    ) -> None:
        self.library = library
        self.features = NodeFeatures(library, expansion, left_out)
        self.expansion = expansion
        self.r, self.v, self.bias = r, v, bias
        self.left_out, self.others, self.is_input = left_out, others, is_input
        self.length, self.dim = v.shape
        self.num_folded = self.dim * expansion.num_features
        count = others.r.shape[0]
        first_exact = self.num_folded + (0 if is_input else len(left_out))
        first_indicator = self.num_folded + (count if is_input else 0)
        self._exact_rows = slice(first_exact, first_exact + count)
        self._indicator_rows = slice(first_indicator, first_indicator + len(left_out))
        self.num_rows = self.num_folded + count + len(left_out)
        self.keeps = keep and self.kept_bytes(self.length) <= KEPT_BYTES
        self._kept: dict[int, Block] = {}
        self._whole: Axes | None = None

    def kept_bytes(self, length: int) -> int:
        """What the blocks of so many particles take if they are kept."""
        exact = self.others.r.shape[0]
        values = self.num_rows + 1 + self.expansion.num_features + self.expansion.num_axes + self.dim + exact
        return length * values * self.library.itemsize

    @property
    def values(self) -> int:
        """All values per particle that a block holds at once."""
        features = self.expansion.num_features
        exact = ExactWeights.ROWS * self.others.r.shape[0]
        return 2 * (self.num_rows + 1) + 4 * features + 2 * self.features.num_hermite + exact

    def groups(self, batch: int) -> list[list[slice]]:
        """Blocks for a pass over the node set, in groups for the threads; see `Library.groups`."""
        groups = self.library.groups(self.length, self.num_rows, self.values, batch, FEATURE_BUDGET)
        if len(groups) > 1 and not self._kept and self.length * self.features.num_hermite <= SHORT_VALUES:
            self._whole = self._axes(slice(0, self.length))
        return groups

    def block(self, where: slice) -> Block:
        """The block of the particles ``where``; unless blocks are kept, this thread's block before is overwritten."""
        block = self._kept.get(where.start)
        if block is None:
            block = self._make(where)
            if self.keeps:
                self._kept[where.start] = block
        return block

    def _axes(self, where: slice) -> Axes:
        r, v = self.library.columns(self.r[where, :]), self.library.columns(self.v[where, :])
        u = self.features.coordinates(r, where)
        return Axes(r, v, u, self.features.hermite(u))

    def _make(self, where: slice) -> Block:
        library, width = self.library, where.stop - where.start
        axes = self._axes(where) if self._whole is None else (a[..., where] for a in self._whole)
        r, v, u, f = axes
        phi = self._memory("features", self.expansion.num_features, width)
        self.features.products(f, phi)
        exact = None
        if self.others.r.shape[0]:
            zeroed = NOBODY if self.is_input else within(self.left_out, where)
            exact = ExactWeights(library, self.others, r, v, zeroed, self.expansion)
        rows = self._memory("rows", self.num_rows + (self.bias is not None), width)
        self._fill(rows, where, v, phi, exact)
        return Block(where, u, v, phi, exact, library.cast(rows, library.product_dtype))

    def _memory(self, purpose: str, *shape: int) -> Array:
        return self.library.lasting(*shape) if self.keeps else self.library.scratch(purpose, *shape)

    def _fill(self, rows: Array, where: slice, v: Array, phi: Array, exact: ExactWeights | None) -> None:
        """Write the factor's rows [R, BN]."""
        features = phi.shape[0]
        for component in range(self.dim):
            folded = rows[component * features : (component + 1) * features, :]
            self.library.multiply(phi, v[component, :], folded)
        if exact is not None:
            exact.fill(rows[self._exact_rows, :])
        if len(self.left_out):
            rows[self._indicator_rows, :] = 0.0
            before = self._indicator_rows.start + int((self.left_out < where.start).sum())
            for position, column in enumerate(within(self.left_out, where).tolist()):
                rows[before + position, column] = 1.0
        if self.bias is not None:
            rows[-1, :] = self.library.cast(self.bias[where], self.library.dtype)

    def project(self, block: Block, x: Array) -> Array:
        """What a block contributes to (x A)^T [R, B], for x [B, N]."""
        part = self.library.empty(self.num_rows, x.shape[0], dtype=self.library.product_dtype)
        rows = block.rows[: self.num_rows, :]
        self.library.matmul(rows, self.library.xp.matrix_transpose(x[:, block.where]), part)
        return part

    def nothing(self, x: Array) -> Array:
        """(x A)^T [R, B] of no particles at all, for x [B, 0]."""
        return self.library.zeros(self.num_rows, x.shape[0], dtype=self.library.product_dtype)

    def pull_back(self, block: Block, gradient: Array) -> tuple[Array, Array, NodeSet | None]:
        """dr^T [n, BN], dv^T [d, BN] and the gradients of ``others`` from that of the factor's rows [R, BN]."""
        library, (features, width) = self.library, block.phi.shape
        by_component = library.xp.reshape(gradient[: self.num_folded, :], (self.dim, features, width))
        dv = library.sum_of_products(by_component, block.phi)
        pull = library.weighted_sum(by_component, block.v)
        along = library.xp.sum(block.v * dv, axis=0)
        dr = self.features.pull_back(pull, along, block.phi, block.u)
        if block.exact is None:
            return dr, dv, None
        exact_dr, exact_dv, of_others = block.exact.pull_back(gradient[self._exact_rows, :], self.features.centre)
        return dr + exact_dr, dv + exact_dv, of_others


def make_factors(
    library: Library,
    approximation: Approximation,
    particles: Particles,
    bias: Array | None = None,
    keep: bool = False,
) -> tuple[Factor, Factor]:
    """A and C."""
    expansion, rows, columns = approximation.expansion, approximation.left_out_in, approximation.left_out_out
    r_in, v_in, r_out, v_out = particles

    def pick(r: Array, v: Array, side: str, indices: Any) -> NodeSet:
        on_device = library.kept(approximation, side, lambda: library.rows(indices))
        return NodeSet(library.pick(r, on_device), library.pick(v, on_device))

    others_in, others_out = pick(r_out, v_out, "outputs", columns), pick(r_in, v_in, "inputs", rows)
    inputs = Factor(library, expansion, r_in, v_in, rows, others_in, True, keep=keep)
    outputs = Factor(library, expansion, r_out, v_out, columns, others_out, False, bias, keep)
    return inputs, outputs
