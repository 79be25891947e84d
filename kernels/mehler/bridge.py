"""The Mehler method for CPU arrays of other libraries: looked at in place as NumPy arrays, which have the
threads."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from pn_gpu.kernels import mehler
from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.forward import Residuals
from pn_gpu.kernels.potentials import Potential

Array = Any


def forward(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None,
    potential: Potential,
    approximation: Approximation,
) -> Array:
    """`pn_gpu.kernels.mehler.forward` for arrays of the library of ``x``."""
    arrays = _view(x), _view(r_in), _view(v_in), _view(r_out), _view(v_out), None if bias is None else _view(bias)
    return array_namespace(x).asarray(mehler.forward(*arrays, potential, approximation))


def forward_with_residuals(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None,
    potential: Potential,
    approximation: Approximation,
) -> tuple[Array, Residuals]:
    """`pn_gpu.kernels.mehler.forward_with_residuals`; the residuals stay NumPy's."""
    arrays = _view(x), _view(r_in), _view(v_in), _view(r_out), _view(v_out), None if bias is None else _view(bias)
    z, residuals = mehler.forward_with_residuals(*arrays, potential, approximation)
    return array_namespace(x).asarray(z), residuals


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
    residuals: Residuals | None = None,
) -> OperatorGradient:
    """`pn_gpu.kernels.mehler.backward` for arrays of the library of ``x``."""
    arrays = _view(dz), _view(x), _view(r_in), _view(v_in), _view(r_out), _view(v_out)
    gradient = mehler.backward(*arrays, potential, need_dx, need_particles, approximation, residuals=residuals)
    xp = array_namespace(x)
    return OperatorGradient(*(None if g is None else xp.asarray(g) for g in gradient))


def _view(a: Array) -> np.ndarray[Any, Any]:
    return np.asarray(a)
