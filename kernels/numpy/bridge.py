"""The NumPy kernels for CPU arrays of other libraries, which are looked at in place and never copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.kernels import numpy as room
from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.numpy.pairs import NodePairs
from pn_gpu.kernels.potentials import Potential

Array = Any


def forward(
    x: Array, r_in: Array, v_in: Array, r_out: Array, v_out: Array, bias: Array | None, potential: Potential
) -> Array:
    """`pn_gpu.kernels.numpy.forward` for arrays of the library of ``x``."""
    arrays = _view(x), _view(r_in), _view(v_in), _view(r_out), _view(v_out), None if bias is None else _view(bias)
    return _back(room.forward(*arrays, potential), x)


def forward_with_residuals(
    x: Array, r_in: Array, v_in: Array, r_out: Array, v_out: Array, bias: Array | None, potential: Potential
) -> tuple[Array, NodePairs]:
    """`pn_gpu.kernels.numpy.forward_with_residuals`; the residuals stay NumPy's."""
    arrays = _view(x), _view(r_in), _view(v_in), _view(r_out), _view(v_out), None if bias is None else _view(bias)
    z, residuals = room.forward_with_residuals(*arrays, potential)
    return _back(z, x), residuals


def backward(
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: Potential,
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: NodePairs | None = None,
) -> OperatorGradient:
    """`pn_gpu.kernels.numpy.backward` for arrays of the library of ``x``."""
    arrays = _view(dz), _view(x), _view(r_in), _view(v_in), _view(r_out), _view(v_out)
    gradient = room.backward(*arrays, potential, need_dx, need_particles, residuals)
    return OperatorGradient(*(None if g is None else _back(g, x) for g in gradient))


def _view(a: Array) -> np.ndarray[Any, Any]:
    return np.asarray(a)


def _back(result: np.ndarray[Any, Any], like: Array) -> Array:
    return namespace_of(like).asarray(result)
