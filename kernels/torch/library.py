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


def particle_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that particles are computed with in: their own, or float32 where they are kept in 16 bits."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _particles(*tensors: Tensor) -> list[Tensor]:
    return [t.to(particle_dtype(t.dtype)) for t in tensors]


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
        *_particles(r_in, v_in, r_out, v_out),
        None if bias is None else bias.to(particle_dtype(bias.dtype)),
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
        *_particles(r_in, v_in, r_out, v_out),
        potentials.get(potential),
        need_dx=need_dx,
        need_particles=need_particles,
        input_precision=input_precision,
    )
    if need_dx:
        results.append(gradient.dx.reshape(x.shape).contiguous())
    if need_particles:
        particles = (gradient.dr_in, gradient.dv_in, gradient.dr_out, gradient.dv_out)
        results += [g.to(t.dtype).contiguous() for g, t in zip(particles, (r_in, v_in, r_out, v_out), strict=True)]
    if need_dbias:
        results.append(gradient.dbias.to(r_out.dtype))
    return results


def _bias_gradient(dz: Tensor, r_out: Tensor) -> Tensor:
    return _as_matrix(dz).sum(dim=0, dtype=particle_dtype(r_out.dtype)).to(r_out.dtype)


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
