"""Gradients of z = (x A) C^T + b, analytic; the expansion and the left-out particles are held constant."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.exact import NodeSet
from pn_gpu.kernels.mehler.factor import Block, Factor, make_factors
from pn_gpu.kernels.mehler.forward import Residuals, project
from pn_gpu.kernels.room import Array, Mehler, OperatorGradient, Particles


def backward(
    dz: Array,
    x: Array,
    particles: Particles,
    how: Mehler,
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: Residuals | None = None,
) -> OperatorGradient:
    """Gradients for dz [B, M] and x [B, N], with the particles and the approximation of `forward`, and its residuals
    where it kept them."""
    library = Library(x, particles.r_in)
    if residuals is None:
        inputs, outputs = make_factors(library, how.approximation, particles)
    else:
        inputs, outputs, _ = residuals
    if not need_particles:
        dx = _through_inputs(inputs, x, project(outputs, dz), None, True) if need_dx else None
        return OperatorGradient(dx, None, None, None, None, library.xp.sum(dz, axis=0, dtype=dz.dtype))
    y = project(inputs, x) if residuals is None else residuals.projection
    of_inputs, of_outputs = NodeGradient(inputs, x.dtype), NodeGradient(outputs, dz.dtype)
    dy = _through_outputs(outputs, dz, library.with_ones(y), of_outputs)
    dx = _through_inputs(inputs, x, dy, of_inputs, need_dx)
    of_inputs.add_left_out(of_outputs)
    of_outputs.add_left_out(of_inputs)
    return OperatorGradient(dx, of_inputs.dr, of_inputs.dv, of_outputs.dr, of_outputs.dv, of_outputs.dbias)


class NodeGradient:
    """The gradients of the particles of a node set, block by block.

    Attributes
    ----------
    dr, dv : array, [N, n] and [N, d]
    dbias : array, [N]
        Where the factor is that of the outputs.
    """

    def __init__(self, factor: Factor, bias_dtype: Any) -> None:
        self._factor = factor
        self.dr, self.dv = (factor.library.empty(*a.shape, dtype=a.dtype) for a in (factor.r, factor.v))
        self.dbias = factor.library.empty(factor.length, dtype=bias_dtype)
        self._of_others: dict[int, NodeSet] = {}

    def add(self, block: Block, y: Array, x: Array) -> None:
        """Fill in the particles of a block, for y [R, B] of the other node set, or [R + 1, B] with ones, and x
        [B, N]."""
        factor, library, where = self._factor, self._factor.library, block.where
        rows = library.scratch("gradient of rows", y.shape[0], block.phi.shape[1])
        library.matmul(y, x[:, where], rows)
        dr, dv, of_others = factor.pull_back(block, rows)
        for columns, out in ((dr, self.dr), (dv, self.dv)):
            out[where, :] = library.cast(library.xp.matrix_transpose(columns), out.dtype)
        if y.shape[0] > factor.num_rows:
            self.dbias[where] = library.cast(rows[-1, :], self.dbias.dtype)
        if of_others is not None:
            self._of_others[where.start] = of_others

    def add_left_out(self, other: NodeGradient) -> None:
        """Add what the weights that are with the ``other`` node set contribute to this one's left-out particles."""
        parts = [part for _, part in sorted(other._of_others.items())]
        if parts:
            factor, library = self._factor, self._factor.library
            for gradients, out in zip(zip(*parts, strict=True), (self.dr, self.dv), strict=True):
                library.add_to_rows(out, factor.left_out, library.total(gradients), factor.expansion)


def _through_outputs(outputs: Factor, dz: Array, y: Array, gradient: NodeGradient) -> Array:
    """dY^T [R, B] for dz [B, M]; the output particles' gradients on the way, for y = (x A)^T and a row of ones."""
    library = outputs.library

    def of_block(where: slice) -> Array:
        block = outputs.block(where)
        dy = outputs.project(block, dz)
        gradient.add(block, y, dz)
        return dy

    parts = library.map(lambda group: library.total(map(of_block, group)), outputs.groups(dz.shape[0]))
    return library.total(parts) if parts else outputs.nothing(dz)


def _through_inputs(inputs: Factor, x: Array, dy: Array, gradient: NodeGradient | None, need_dx: bool) -> Array | None:
    """dx [B, N] for x [B, N] and dY^T [R, B]; the input particles' gradients on the way."""
    library = inputs.library
    dx = library.lasting(*x.shape, dtype=library.product_dtype) if need_dx else None
    dy_t = library.xp.matrix_transpose(dy)

    def of_group(group: list[slice]) -> None:
        for where in group:
            block = inputs.block(where)
            if dx is not None:
                library.matmul(dy_t, block.rows, dx[:, where])
            if gradient is not None:
                gradient.add(block, dy, x)

    library.map(of_group, inputs.groups(x.shape[0]))
    return dx
