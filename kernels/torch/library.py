"""``pn_gpu::particle_linear`` and ``pn_gpu::particle_linear_backward`` as operators of `torch.library`.

The schemas, the implementations, and what tracing needs to know of them: shapes, dtypes and strides of their
results (fakes). Both take x [..., N] of any leading dimensions and return contiguous tensors. A potential
travels by its name. The backward returns a list of what was asked for: dx, four particle gradients, dbias.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pn_gpu.kernels import potentials
from pn_gpu.kernels.torch.rooms import select_room

_library = torch.library.Library("pn_gpu", "DEF")
_library.define(
    "particle_linear(Tensor x, Tensor r_in, Tensor v_in, Tensor r_out, Tensor v_out, Tensor? bias, "
    "str potential, str? input_precision) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    "particle_linear_backward(Tensor dz, Tensor x, Tensor r_in, Tensor v_in, Tensor r_out, Tensor v_out, "
    "str potential, str? input_precision, "
    "bool need_dx, bool need_particles, bool need_dbias) -> Tensor[]",
    tags=(torch.Tag.pt2_compliant_tag,),
)

FORWARD = torch.ops.pn_gpu.particle_linear.default
BACKWARD = torch.ops.pn_gpu.particle_linear_backward.default


def _computable(tensor: Tensor) -> Tensor:
    """A particle array or bias in the dtype it is computed with in: its own, or float32 where it has 16 bits."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _like(gradient: Tensor, tensor: Tensor) -> Tensor:
    """``gradient`` contiguous and in the shape and dtype of ``tensor``; each step is skipped where it is none."""
    if gradient.dtype != tensor.dtype:
        gradient = gradient.to(tensor.dtype)
    if gradient.shape != tensor.shape:
        gradient = gradient.reshape(tensor.shape)
    return gradient if gradient.is_contiguous() else gradient.contiguous()


def _as_matrix(x: Tensor) -> Tensor:
    """[..., N] as [B, N]; -1 would be ambiguous for an empty batch."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _forward(
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None,
    potential: str,
    input_precision: str | None,
) -> Tensor:
    z = select_room(x.device).forward(
        _as_matrix(x),
        _computable(r_in),
        _computable(v_in),
        _computable(r_out),
        _computable(v_out),
        None if bias is None else _computable(bias),
        potentials.get(potential),
        input_precision=input_precision,
    )
    return z if x.ndim == 2 else z.reshape(*x.shape[:-1], r_out.shape[0])


def _backward(
    dz: Tensor,
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    potential: str,
    input_precision: str | None,
    need_dx: bool,
    need_particles: bool,
    need_dbias: bool,
) -> list[Tensor]:
    results: list[Tensor] = []
    if not (need_dx or need_particles):
        return [_bias_gradient(dz, r_out)] if need_dbias else results
    gradient = select_room(x.device).backward(
        _as_matrix(dz),
        _as_matrix(x),
        _computable(r_in),
        _computable(v_in),
        _computable(r_out),
        _computable(v_out),
        potentials.get(potential),
        need_dx=need_dx,
        need_particles=need_particles,
        input_precision=input_precision,
    )
    if need_dx:
        results.append(_like(gradient.dx, x))
    if need_particles:
        results.append(_like(gradient.dr_in, r_in))
        results.append(_like(gradient.dv_in, v_in))
        results.append(_like(gradient.dr_out, r_out))
        results.append(_like(gradient.dv_out, v_out))
    if need_dbias:
        results.append(gradient.dbias.to(r_out.dtype))
    return results


def _bias_gradient(dz: Tensor, r_out: Tensor) -> Tensor:
    return _as_matrix(dz).sum(dim=0, dtype=_computable(r_out).dtype).to(r_out.dtype)


for _device in ("CPU", "CUDA"):
    _library.impl("particle_linear", _forward, _device)
    _library.impl("particle_linear_backward", _backward, _device)


@torch.library.register_fake("pn_gpu::particle_linear", lib=_library)
def _forward_fake(
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None,
    potential: str,
    input_precision: str | None,
) -> Tensor:
    return x.new_empty((*x.shape[:-1], r_out.shape[0]))


@torch.library.register_fake("pn_gpu::particle_linear_backward", lib=_library)
def _backward_fake(
    dz: Tensor,
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    potential: str,
    input_precision: str | None,
    need_dx: bool,
    need_particles: bool,
    need_dbias: bool,
) -> list[Tensor]:
    results = [x.new_empty(x.shape)] if need_dx else []
    if need_particles:
        results += [t.new_empty(t.shape) for t in (r_in, v_in, r_out, v_out)]
    if need_dbias:
        results.append(r_out.new_empty((r_out.shape[0],)))
    return results
