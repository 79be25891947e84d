"""The Mehler method for torch tensors, differentiable by its own analytic backward.

On the CPU 32- and 64-bit tensors are looked at in place as NumPy arrays, which have the threads; everything else runs
as torch operations on the tensors' device.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from pn_gpu.kernels import mehler
from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.mehler import bridge
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.forward import Residuals
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.torch.autograd import through_room


def forward(
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None,
    potential: Potential,
    approximation: Approximation,
) -> Tensor:
    """z [B, M] for x [B, N], differentiable once; arguments as of `pn_gpu.kernels.mehler.forward`."""
    run_forward = partial(_forward, potential=potential, approximation=approximation)
    run_backward = partial(_backward, potential=potential, approximation=approximation)
    return through_room(run_forward, run_backward, x, r_in, v_in, r_out, v_out, bias)


def forward_with_residuals(
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None,
    potential: Potential,
    approximation: Approximation,
) -> tuple[Tensor, Residuals]:
    """z, which autograd does not follow, and what `backward` need not compute again."""
    tensors = (None if t is None else t.detach() for t in (x, r_in, v_in, r_out, v_out, bias))
    return _room(x).forward_with_residuals(*tensors, potential, approximation)


def backward(
    dz: Tensor,
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    potential: Potential,
    need_dx: bool,
    need_particles: bool,
    approximation: Approximation,
    residuals: Residuals | None = None,
) -> OperatorGradient:
    """Gradients for dz [B, M] and x [B, N]; arguments as of `pn_gpu.kernels.mehler.backward`."""
    tensors = (t.detach() for t in (dz, x, r_in, v_in, r_out, v_out))
    return _backward(
        *tensors,
        need_dx=need_dx,
        need_particles=need_particles,
        residuals=residuals,
        potential=potential,
        approximation=approximation,
    )


def _forward(
    *tensors: Any, keep: bool, potential: Potential, approximation: Approximation
) -> tuple[Tensor, Residuals | None]:
    room = _room(tensors[0])
    if keep:
        return room.forward_with_residuals(*tensors, potential, approximation)
    return room.forward(*tensors, potential, approximation), None


def _backward(
    *tensors: Tensor,
    need_dx: bool,
    need_particles: bool,
    residuals: Residuals | None,
    potential: Potential,
    approximation: Approximation,
) -> OperatorGradient:
    room = _room(tensors[1])
    return room.backward(*tensors, potential, need_dx, need_particles, approximation, residuals=residuals)


def _room(x: Tensor) -> Any:
    return bridge if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) else mehler
