"""Gradients of z = (x A) C^T + b, analytic; the expansion and the left-out particles are held constant."""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.mehler.arrays import Job, Library
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.features import NodeFeatures
from pn_gpu.kernels.mehler.forward import FEATURE_BUDGET, project
from pn_gpu.kernels.mehler.outside import add_outside_backward
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Room

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
    direct: Room,
    budget: int = FEATURE_BUDGET,
) -> OperatorGradient:
    """Gradients for dz [B, M] and x [B, N], with the particles and the approximation of `forward`."""
    library = Library(x, r_in)
    inputs = NodeFeatures(library, approximation.expansion, r_in, v_in, approximation.outside_in)
    outputs = NodeFeatures(library, approximation.expansion, r_out, v_out, approximation.outside_out)
    dx = library.empty(*x.shape, dtype=library.product_dtype) if need_dx else None
    dr_in = dv_in = dr_out = dv_out = None
    if need_particles:
        y, dy = project(library, budget, (x, inputs), (dz, outputs))  # [d P, B]
        dr_in, dv_in, dr_out, dv_out = (library.empty(*a.shape, dtype=a.dtype) for a in (r_in, v_in, r_out, v_out))
        library.run(
            _node_gradient(library, inputs, dy, x, dx, dr_in, dv_in, budget),
            _node_gradient(library, outputs, y, dz, None, dr_out, dv_out, budget),
        )
    elif dx is not None:
        (dy,) = project(library, budget, (dz, outputs))
        library.run(_products(library, inputs, dy, dx, budget))
    gradient = OperatorGradient(dx, dr_in, dv_in, dr_out, dv_out, library.xp.sum(dz, axis=0, dtype=dz.dtype))
    return add_outside_backward(gradient, dz, x, r_in, v_in, r_out, v_out, potential, approximation, direct)


def _products(library: Library, nodes: NodeFeatures, y: Array, products: Array, budget: int) -> Job:
    """Write y^T A^T [B, N] to ``products``, for y [d P, B]."""

    def run(chunks: list[slice]) -> None:
        work = nodes.make_workspace(chunks[0].stop - chunks[0].start)
        for chunk in chunks:
            phi = nodes.features(nodes.coordinates(chunk), work)
            folded = nodes.fold(phi, nodes.dipoles(chunk), work)
            library.matmul(library.xp.matrix_transpose(y), folded, products[:, chunk])

    return Job(run, library.chunks(products.shape[1], nodes.rows, products.shape[0], budget))


def _node_gradient(
    library: Library, nodes: NodeFeatures, y: Array, x: Array, dx: Array | None, dr: Array, dv: Array, budget: int
) -> Job:
    """Fill dr [N, n] and dv [N, d] of the node set with inputs x [B, N], for y [d P, B] of the other, and ``dx``."""
    xp = library.xp
    features = nodes.expansion.num_features

    def run(chunks: list[slice]) -> None:
        work = nodes.make_workspace(chunks[0].stop - chunks[0].start)
        for chunk in chunks:
            u, v = nodes.coordinates(chunk), nodes.dipoles(chunk)
            phi = nodes.features(u, work)
            if dx is not None:
                library.matmul(xp.matrix_transpose(y), nodes.fold(phi, v, work), dx[:, chunk])
            width = chunk.stop - chunk.start
            gradient = work.gradient[:, :width]  # dA^T
            if library.product_dtype == library.dtype:
                library.matmul(y, x[:, chunk], gradient)
            else:
                gradient[:, :] = library.cast(y @ x[:, chunk], library.dtype)
            by_component = xp.reshape(gradient, (nodes.dim, features, width))
            dr_columns, dv_columns = nodes.pull_back(by_component, phi, u, v, work)
            dr[chunk, :] = library.cast(xp.matrix_transpose(dr_columns), dr.dtype)
            dv[chunk, :] = library.cast(xp.matrix_transpose(dv_columns), dv.dtype)

    return Job(run, library.chunks(x.shape[1], nodes.rows, x.shape[0], budget))
