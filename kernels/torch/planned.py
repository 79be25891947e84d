"""``pn_gpu::planned_linear``: a staged call that is planned when its graph runs.

A plan reads the particles, which a graph that is traced cannot do. So the choice of the method is within the operator:
a compiled wide layer costs O(N + M) as an eager one does, and its plan follows the particles. The number of what was
chosen is a second result, for the backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pn_gpu.kernels import staging
from pn_gpu.kernels.room import OperatorGradient, Particles
from pn_gpu.kernels.staging import Planned
from pn_gpu.kernels.torch import compute
from pn_gpu.kernels.torch.library import LAYER, NEEDS, as_list, from_list

_SETTINGS = "int chooser, str potential, str? precision, str method, float rtol, bool keep"

_library = torch.library.Library("pn_gpu", "FRAGMENT")
_library.define(
    f"planned_linear({LAYER}, Tensor? bias, {_SETTINGS}) -> (Tensor, Tensor)", tags=(torch.Tag.pt2_compliant_tag,)
)
_library.define(
    f"planned_linear_backward(Tensor dz, {LAYER}, Tensor choice, {NEEDS}) -> Tensor[]",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_FORWARD = torch.ops.pn_gpu.planned_linear.default
_BACKWARD = torch.ops.pn_gpu.planned_linear_backward.default


def call_planned(x: Tensor, particles: Particles, bias: Tensor | None, how: Planned) -> Tensor:
    """z [..., M] for x [..., N]."""
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *particles, bias))
    z, _ = _FORWARD(x, *particles, bias, how.chooser, how.potential, how.precision, how.method, how.rtol, keep)
    return z


def _forward(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    particles, bias, planned, keep = Particles(*rest[:4]), rest[4], Planned(*rest[5:-1]), rest[-1]
    how = staging.chooser_of(planned.chooser).choose(x, particles, planned)
    z, residuals = compute.forward(x, particles, bias, how, keep)
    return z, torch.tensor([staging.remember(how, residuals)])


def _backward(dz: Tensor, x: Tensor, *rest: Any) -> list[Tensor]:
    particles, choice, (need_dx, need_particles, need_dbias) = Particles(*rest[:4]), rest[4], rest[5:]
    how, residuals = staging.recall(int(choice))
    gradient = compute.backward(dz, x, particles, how, need_dx, need_particles, residuals)
    return as_list(gradient, need_dx, need_particles, need_dbias)


def _forward_fake(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty((*x.shape[:-1], rest[2].shape[0])), torch.empty(1, dtype=torch.int64)


def _backward_fake(dz: Tensor, x: Tensor, *rest: Any) -> list[Tensor]:
    particles = Particles(*rest[:4])
    empty = [t.new_empty(t.shape) for t in (x, *particles)]
    dbias = particles.r_out.new_empty((particles.r_out.shape[0],))
    return as_list(OperatorGradient._make((*empty, dbias)), *rest[5:])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:5], output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.bias_dtype = None if inputs[5] is None else inputs[5].dtype


def _differentiate(ctx: Any, dz: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    need_dx, *need_each, need_dbias = ctx.needs_input_grad[:6]
    wanted = (need_dx, any(need_each), need_dbias)
    dx, *of_particles, dbias = from_list(_BACKWARD(dz, *ctx.saved_tensors, *wanted), *wanted)
    each = (g if need else None for g, need in zip(of_particles, need_each, strict=True))
    return (dx, *each, None if dbias is None else dbias.to(ctx.bias_dtype), *[None] * 6)


for _device in ("CPU", "CUDA"):
    _library.impl("planned_linear", _forward, _device)
    _library.impl("planned_linear_backward", _backward, _device)
torch.library.register_fake("pn_gpu::planned_linear", _forward_fake, lib=_library)
torch.library.register_fake("pn_gpu::planned_linear_backward", _backward_fake, lib=_library)
torch.library.register_autograd("pn_gpu::planned_linear", _differentiate, setup_context=_save)
