"""Derivatives and vmap of the staged operators, every derivative by the operator that is the next one's gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from pn_gpu.kernels.room import Particles
from pn_gpu.kernels.torch import library
from pn_gpu.kernels.torch.autograd import (
    OperatorBackward,
    OperatorForward,
    apply_here,
    gradients,
    next_level,
    tangent_of,
    vmap_forward,
)
from pn_gpu.kernels.torch.forward_mode import nestable
from pn_gpu.kernels.torch.grad_batches import sees_batches
from pn_gpu.kernels.torch.kept import Kept
from pn_gpu.kernels.torch.library import Staged
from pn_gpu.kernels.torch.planned import PLANNED
from pn_gpu.kernels.torch.vmap import select, vmap_list


class _PlannedLinear(torch.autograd.Function):
    """The operator that is planned when its graph runs; its derivatives go by the number of its choice."""

    @staticmethod
    def forward(settings: tuple[Any, ...], *tensors: Any) -> tuple[Tensor, Tensor]:
        with next_level():
            return PLANNED(*tensors, *settings)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.how = Staged("chosen_linear", (output[1],))
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[1:6])
        ctx.save_for_forward(*inputs[1:6])
        ctx.bias_dtype = None if inputs[6] is None else inputs[6].dtype

    @staticmethod
    @sees_batches
    def backward(ctx: Any, dz: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        x, *particles = ctx.saved_tensors
        return (None, *gradients(ctx, ctx.needs_input_grad[1:], dz, x, Particles(*particles)))

    @staticmethod
    @nestable
    def jvp(ctx: Any, saved: list[Tensor], _: None, *tangents: Any) -> tuple[Tensor, None]:
        return tangent_of(ctx.how, saved, tangents), None


class _StagedHessian(torch.autograd.Function):
    """The product with the Hessian."""

    @staticmethod
    def forward(name: str, settings: tuple[Any, ...], *tensors: Any) -> tuple[Tensor, ...]:
        with next_level():
            return tuple(library.HESSIAN[name](*tensors, *settings))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.name, ctx.settings = inputs[:2]
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        given = iter(library.HESSIAN_BACKWARD[ctx.name](list(cotangents), *tensors, *ctx.settings))
        return None, None, *(None if t is None else next(given) for t in tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise RuntimeError(
            "particle_linear: third derivatives by forward mode are not implemented under torch.compile: take grad or "
            "jacrev for one of the three, or take them in eager mode"
        )


class _StagedHessianBackward(torch.autograd.Function):
    """The gradient of the product with the Hessian; its own is refused where it is computed, which it may never be."""

    @staticmethod
    def forward(name: str, count: int, settings: tuple[Any, ...], *tensors: Any) -> tuple[Tensor, ...]:
        with next_level():
            return tuple(library.HESSIAN_BACKWARD[name](list(tensors[:count]), *tensors[count:], *settings))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[3:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        # An operator of a cotangent: a graph that computes third derivatives alone leaves it to a backward.
        refuse, of = torch.ops.pn_gpu.refused_derivative, cotangents[0]
        return None, None, None, *(None if t is None else refuse(t, of) for t in ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        _refuse()


def _refuse(*arguments: Any) -> Any:
    raise RuntimeError(
        "particle_linear: fourth derivatives are not implemented under torch.compile; take them in eager mode"
    )


def _differentiable_planned(*arguments: Any) -> tuple[Tensor, Tensor]:
    return apply_here(_PlannedLinear, arguments[6:], *arguments[:6])


def _vmap_planned(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
    """Batched inputs are one more leading dimension; batched particles are a call each, and a choice."""
    if all(dim is None for dim in in_dims[1:]):
        x, *rest, _ = arguments
        return PLANNED(x.movedim(in_dims[0], 0), *rest, False), (0, None)  # a backward may be of one sample: none kept
    calls = [PLANNED(*select(arguments, in_dims, i)) for i in range(info.batch_size)]
    return tuple(torch.stack(results) for results in zip(*calls, strict=True)), (0, 0)


def _register(name: str) -> None:
    """Derivatives and vmap of the staged operators of one way to compute the layer."""
    forward, backward, hessian, hessian_backward = (
        group[name] for group in (library.FORWARD, library.BACKWARD, library.HESSIAN, library.HESSIAN_BACKWARD)
    )

    def differentiable_forward(x: Tensor, *rest: Any) -> Tensor:
        return apply_here(OperatorForward, Kept(False), Staged(name, rest[5:]), x, *rest[:5])

    def differentiable_backward(*arguments: Any) -> list[Tensor]:
        tensors, settings, wanted = arguments[:6], arguments[6:-3], arguments[-3:]
        return list(apply_here(OperatorBackward, Staged(name, settings), *wanted, *tensors))

    def differentiable_hessian(*arguments: Any) -> list[Tensor]:
        return list(apply_here(_StagedHessian, name, arguments[12:], *arguments[:12]))

    def differentiable_hessian_backward(cotangents: list[Tensor], *arguments: Any) -> list[Tensor]:
        tensors = *cotangents, *arguments[:12]
        return list(apply_here(_StagedHessianBackward, name, len(cotangents), arguments[12:], *tensors))

    library.implement(forward, differentiable_forward, "Autograd")
    library.implement(backward, differentiable_backward, "Autograd")
    library.implement(hessian, differentiable_hessian, "Autograd")
    library.implement(hessian_backward, differentiable_hessian_backward, "Autograd")
    torch.library.register_vmap(forward, partial(vmap_forward, forward, None))
    torch.library.register_vmap(backward, partial(vmap_list, backward))
    torch.library.register_vmap(hessian, partial(vmap_list, hessian))
    torch.library.register_vmap(hessian_backward, partial(_vmap_hessian_backward, hessian_backward))


def _vmap_hessian_backward(call: Any, info: Any, in_dims: Any, cotangents: list[Tensor], *arguments: Any) -> Any:
    """`vmap_list` for an operator whose first argument is a list of tensors."""
    count = len(cotangents)

    def flat(*arguments: Any) -> list[Tensor]:
        return call(list(arguments[:count]), *arguments[count:])

    return vmap_list(flat, info, (*in_dims[0], *in_dims[1:]), *cotangents, *arguments)


for _name in library.SETTINGS:
    _register(_name)
for _device in ("CPU", "CUDA"):
    library.implement(torch.ops.pn_gpu.refused_derivative.default, _refuse, _device)
library.implement(PLANNED, _differentiable_planned, "Autograd")
torch.library.register_vmap(PLANNED, _vmap_planned)
