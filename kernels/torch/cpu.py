"""The NumPy kernels for torch tensors on the CPU: float32 and float64 are looked at in place, never copied.

16-bit floats, which NumPy's kernels do not compute in, are cast to float32 and the results cast back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pn_gpu.kernels import numpy as room
from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.potentials import Potential


def forward(
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None,
    potential: Potential,
    input_precision: str | None = None,
) -> Tensor:
    """`pn_gpu.kernels.numpy.forward`; ``input_precision`` is for GPUs, the CPU computes every digit."""
    dtype = r_in.dtype
    z = room.forward(
        _array(x, dtype),
        _array(r_in, dtype),
        _array(v_in, dtype),
        _array(r_out, dtype),
        _array(v_out, dtype),
        None if bias is None else _array(bias, dtype),
        potential,
    )
    return torch.from_numpy(z).to(x.dtype)


def backward(
    dz: Tensor,
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    potential: Potential,
    need_dx: bool = True,
    need_particles: bool = True,
    input_precision: str | None = None,
) -> OperatorGradient:
    """`pn_gpu.kernels.numpy.backward`; dx has the dtype of x, all others that of the particles."""
    dtype = r_in.dtype
    gradient = room.backward(
        _array(dz, dtype),
        _array(x, dtype),
        _array(r_in, dtype),
        _array(v_in, dtype),
        _array(r_out, dtype),
        _array(v_out, dtype),
        potential,
        need_dx,
        need_particles,
    )
    dx = _tensor(gradient.dx)
    return OperatorGradient(
        None if dx is None else dx.to(x.dtype),
        _tensor(gradient.dr_in),
        _tensor(gradient.dv_in),
        _tensor(gradient.dr_out),
        _tensor(gradient.dv_out),
        _tensor(gradient.dbias),
    )


def _array(tensor: Tensor, dtype: torch.dtype) -> np.ndarray[Any, Any]:
    """The tensor's own memory as an array; ``force`` resolves a lazy negation, which NumPy does not know."""
    return np.from_dlpack((tensor if tensor.dtype == dtype else tensor.to(dtype)).detach().resolve_neg())


def _tensor(array: np.ndarray[Any, Any] | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(np.ascontiguousarray(array))
