"""The exact rows and columns of W of the particles that the expansion leaves out.

W without them is the expansion's; their rows (I x all outputs) and columns (all inputs x J) are sub-blocks of
W that the direct kernels compute. The pairs in I x J lie in both blocks and are counted once: whatever
belongs to a left-out particle itself is complete in its own block and replaces, all else is added.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.mehler.arrays import put_columns, put_rows, take
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Room

Array = Any


def add_outside_forward(
    z: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None,
    potential: Potential,
    approximation: Approximation,
    direct: Room,
) -> Array:
    """z [B, M] with what the expansion leaves out."""
    rows, columns = approximation.outside_in, approximation.outside_out
    if len(rows):
        z += direct.forward(take(x, rows, axis=1), take(r_in, rows), take(v_in, rows), r_out, v_out, None, potential)
    if len(columns):
        bias_columns = None if bias is None else take(bias, columns)
        exact = direct.forward(x, r_in, v_in, take(r_out, columns), take(v_out, columns), bias_columns, potential)
        put_columns(z, columns, exact)
    return z


def add_outside_backward(
    gradient: OperatorGradient,
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: Potential,
    approximation: Approximation,
    direct: Room,
) -> OperatorGradient:
    """Gradients with what the expansion leaves out."""
    rows, columns = approximation.outside_in, approximation.outside_out
    needs = (gradient.dx is not None, gradient.dr_in is not None)
    of_rows = of_columns = None
    if len(rows):
        of_rows = direct.backward(
            dz, take(x, rows, axis=1), take(r_in, rows), take(v_in, rows), r_out, v_out, potential, *needs
        )
    if len(columns):
        of_columns = direct.backward(
            take(dz, columns, axis=1),
            x,
            r_in,
            v_in,
            take(r_out, columns),
            take(v_out, columns),
            potential,
            *needs,
        )
    if gradient.dx is not None:
        _merge(gradient.dx, getattr(of_columns, "dx", None), rows, getattr(of_rows, "dx", None), put_columns)
    if gradient.dr_in is not None:
        for name in ("dr_in", "dv_in"):
            _merge(
                getattr(gradient, name),
                getattr(of_columns, name, None),
                rows,
                getattr(of_rows, name, None),
                put_rows,
            )
        for name in ("dr_out", "dv_out"):
            _merge(
                getattr(gradient, name),
                getattr(of_rows, name, None),
                columns,
                getattr(of_columns, name, None),
                put_rows,
            )
    return gradient


def _merge(whole: Array, addend: Array | None, own: np.ndarray[Any, Any], replacement: Array | None, put: Any) -> None:
    """Add ``addend`` to ``whole``, then put ``replacement`` where the left-out particles are."""
    if addend is not None:
        whole += addend
    if replacement is not None:
        put(whole, own, replacement)
