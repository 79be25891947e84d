"""Derivatives, autocast and vmap of the operators of `pn_gpu.kernels.torch.library`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.torch.library import BACKWARD, FORWARD

# Skips the dispatcher's own autograd layer: `_ParticleLinear` is that layer in eager mode, in half its time.
_below_autograd = torch._C._AutoDispatchBelowAutograd
_functorch_is_active = torch._C._are_functorch_transforms_active


def particle_linear(
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None = None,
    potential: str = "gaussian",
    input_precision: str | None = None,
) -> Tensor:
    """z [..., M] for x [..., N] and a registered potential's name; arguments are taken as checked.

    Under autocast x is cast and z returned in autocast's dtype; particles and bias stay as they are.
    """
    x = _autocast(x)
    arguments = (x, r_in, v_in, r_out, v_out, bias, potential, input_precision)
    if torch.compiler.is_compiling():
        return FORWARD(*arguments)
    return _apply(_ParticleLinear, *arguments)


def _autocast(x: Tensor) -> Tensor:
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(device))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    bias, *ctx.settings = inputs[5:]
    ctx.bias_dtype = None if bias is None else bias.dtype


def _backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    need_dx, *need_each, need_dbias = ctx.needs_input_grad[:6]
    need_particles = any(need_each)
    arguments = (dz, *ctx.saved_tensors, *ctx.settings, need_dx, need_particles, need_dbias)
    gradients = iter(_gradients(*arguments))
    dx = next(gradients) if need_dx else None
    particles = [next(gradients) if need_particles else None for _ in need_each]
    dbias = next(gradients) if need_dbias else None
    if dbias is not None and dbias.dtype != ctx.bias_dtype:
        dbias = dbias.to(ctx.bias_dtype)
    each = (g if need else None for g, need in zip(particles, need_each, strict=True))
    return (dx, *each, dbias, *(None for _ in ctx.settings))


def through_room(
    forward: Callable[..., Tensor],
    backward: Callable[..., OperatorGradient],
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """z of another room's ``forward``, differentiable by its ``backward``; a compiled graph breaks here.

    ``forward(x, r_in, v_in, r_out, v_out, bias, keep=...)`` returns z and residuals, which are kept for
    ``backward(dz, x, r_in, v_in, r_out, v_out, need_dx=..., need_particles=..., residuals=...)``.
    """
    tensors = (_autocast(x), r_in, v_in, r_out, v_out, bias)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return _ThroughRoom.apply(forward, backward, keep, *tensors)


class _ThroughRoom(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forward: Any, backward: Any, keep: bool, *tensors: Any) -> Tensor:
        ctx.save_for_backward(*tensors[:5])
        ctx.room_backward = backward
        ctx.bias_dtype = None if tensors[5] is None else tensors[5].dtype
        z, ctx.residuals = forward(*(None if t is None else t.detach() for t in tensors), keep=keep)
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        need_dx, *need_each, need_dbias = ctx.needs_input_grad[3:]
        if not (need_dx or any(need_each)):
            return (*[None] * 8, dz.flatten(0, -2).sum(dim=0).to(ctx.bias_dtype))
        tensors = (t.detach() for t in ctx.saved_tensors)
        needs = {"need_dx": need_dx, "need_particles": any(need_each)}
        gradient = ctx.room_backward(dz, *tensors, **needs, residuals=ctx.residuals)
        each = (g if need else None for g, need in zip(gradient[1:5], need_each, strict=True))
        dbias = gradient.dbias.to(ctx.bias_dtype) if need_dbias else None
        return (None, None, None, gradient.dx, *each, dbias)


def _gradients(*arguments: Any) -> Sequence[Tensor]:
    if torch.compiler.is_compiling():
        return BACKWARD(*arguments)
    if torch.is_grad_enabled() or _functorch_is_active():
        return _apply(_ParticleLinearBackward, *arguments)
    with _below_autograd():
        return BACKWARD(*arguments)


class _ParticleLinear(torch.autograd.Function):
    """The derivative in eager mode; compiled graphs find the same functions registered with the operator."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        with _below_autograd():
            return FORWARD(*arguments)

    setup_context = staticmethod(_setup_context)
    backward = staticmethod(_backward)


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """A refusal needs nothing."""


def _refuse(ctx: Any, *gradients: Any) -> NoReturn:
    raise RuntimeError(
        "particle_linear: gradients of gradients are not implemented; take the first gradient without "
        "create_graph=True, or build the layer from pn_gpu.dense_weight where second ones are needed"
    )


class _ParticleLinearBackward(torch.autograd.Function):
    """The gradient: torch.func records it as differentiable, being differentiated it refuses."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        with _below_autograd():
            return tuple(BACKWARD(*arguments))

    setup_context = staticmethod(_save_nothing)
    backward = staticmethod(_refuse)


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply`` without its binding of default arguments, which takes as long as the rest."""
    if _functorch_is_active():
        return function.apply(*arguments)
    return super(torch.autograd.Function, function).apply(*arguments)


torch.library.register_autograd("pn_gpu::particle_linear", _backward, setup_context=_setup_context)
torch.library.register_autograd("pn_gpu::particle_linear_backward", _refuse, setup_context=_save_nothing)


@torch.library.register_vmap("pn_gpu::particle_linear")
def _vmap_forward(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    """Batched inputs are one more leading dimension; batched particles are one layer after the other."""
    if all(dim is None for dim in in_dims[1:]):
        x, *rest = arguments
        return FORWARD(x.movedim(in_dims[0], 0), *rest), 0
    return torch.stack([FORWARD(*_select(arguments, in_dims, i)) for i in range(info.batch_size)]), 0


@torch.library.register_vmap("pn_gpu::particle_linear_backward")
def _vmap_backward(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[list[Tensor], list[int]]:
    """A gradient per sample is a call per sample."""
    calls = [BACKWARD(*_select(arguments, in_dims, i)) for i in range(info.batch_size)]
    results = [torch.stack(gradients) for gradients in zip(*calls, strict=True)]
    return results, [0] * len(results)


def _select(arguments: tuple[Any, ...], in_dims: tuple[int | None, ...], index: int) -> list[Any]:
    return [a if dim is None else a.select(dim, index) for a, dim in zip(arguments, in_dims, strict=True)]
