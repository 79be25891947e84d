"""Gradients of z = (x A) C^T + b, analytic; the expansion and the left-out particles are held constant."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.mehler.arrays import Library, Product, total
from pn_gpu.kernels.mehler.exact import Particles
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.factor import Chunk, Factor, Panel, Panels, make_factors
from pn_gpu.kernels.mehler.forward import FEATURE_BUDGET, expand, project
from pn_gpu.kernels.potentials import Potential

Array = Any


def backward(
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: Potential,
    need_dx: bool,
    need_particles: bool,
    approximation: Approximation,
    budget: int = FEATURE_BUDGET,
) -> OperatorGradient:
    """Gradients for dz [B, M] and x [B, N], with the particles and the approximation of `forward`."""
    library = Library(x, r_in)
    inputs, outputs = make_factors(library, approximation, r_in, v_in, r_out, v_out)
    dx = library.empty(*x.shape, dtype=library.product_dtype) if need_dx else None
    if need_particles:
        return _all_gradients(library, inputs, outputs, dz, x, dx, budget)
    if dx is not None:
        (dy,) = project(library, (dz, Panels(outputs, budget)))
        for panel in Panels(inputs, budget):
            library.compute(library.by_columns(expand(library, dy, panel, dx)))
    return OperatorGradient(dx, None, None, None, None, library.xp.sum(dz, axis=0, dtype=dz.dtype))


def _all_gradients(
    library: Library, inputs: Factor, outputs: Factor, dz: Array, x: Array, dx: Array | None, budget: int
) -> OperatorGradient:
    panels_in, panels_out = Panels(inputs, budget), Panels(outputs, budget)
    y, dy = project(library, (x, panels_in), (dz, panels_out))  # [R, B]
    of_inputs, of_outputs = NodeGradient(inputs), NodeGradient(outputs)
    dbias = library.empty(outputs.length, dtype=dz.dtype)
    y = library.with_ones(y)  # for the bias
    for panel_in, panel_out in zip_longest(panels_in, panels_out):
        products = []
        if panel_in is not None:
            rows_in = Product(dy, x[:, panel_in.where], library.scratch("gradient of rows", *panel_in.rows.shape))
            products += [rows_in] if dx is None else [rows_in, expand(library, dy, panel_in, dx)]
        if panel_out is not None:
            rows_out = Product(y, dz[:, panel_out.where], panel_out.memory)  # the rows themselves have done their work
            products.append(rows_out)
        library.compute(library.by_columns(*products))
        if panel_in is not None:
            of_inputs.add(panel_in, rows_in.out)
        if panel_out is not None:
            of_outputs.add(panel_out, rows_out.out)
            dbias[panel_out.where] = library.cast(rows_out.out[-1, :], dz.dtype)
    of_inputs.add_left_out(of_outputs)
    of_outputs.add_left_out(of_inputs)
    return OperatorGradient(dx, of_inputs.dr, of_inputs.dv, of_outputs.dr, of_outputs.dv, dbias)


class NodeGradient:
    """The gradients of the particles of a node set, panel by panel.

    Attributes
    ----------
    dr, dv : array, [N, n] and [N, d]
    """

    def __init__(self, factor: Factor) -> None:
        self._factor = factor
        self.dr, self.dv = (factor.library.empty(*a.shape, dtype=a.dtype) for a in (factor.r, factor.v))
        self._of_others: list[Particles] = []

    def add(self, panel: Panel, rows: Array) -> None:
        """Fill in the particles of a panel, from the gradient [R, BP] of the factor's rows."""
        factor, library = self._factor, self._factor.library

        def fill(chunk: Chunk) -> Particles | None:
            dr, dv, of_others = factor.pull_back(chunk, rows[:, chunk.part])
            for columns, out in ((dr, self.dr), (dv, self.dv)):
                out[chunk.where, :] = library.cast(library.xp.matrix_transpose(columns), out.dtype)
            return of_others

        self._of_others += [part for part in library.map(fill, panel.chunks) if part is not None]

    def add_left_out(self, other: NodeGradient) -> None:
        """Add what the weights that are with the ``other`` node set contribute to this one's left-out particles."""
        if other._of_others:
            for gradients, out in zip(zip(*other._of_others, strict=True), (self.dr, self.dv), strict=True):
                self._factor.library.add_to_rows(out, self._factor.own, total(list(gradients)))
