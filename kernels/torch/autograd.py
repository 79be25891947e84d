"""Derivatives, autocast and vmap of the operator for torch tensors.

An eager call runs one `torch.autograd.Function` over `pn_gpu.kernels.torch.compute`. Where a call is staged, by
torch.compile or by the transforms of torch.func, it goes through the operators of `pn_gpu.kernels.torch.library`, which
have the same derivative.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from pn_gpu.kernels.room import How, Particles, Residuals
from pn_gpu.kernels.staging import Planned
from pn_gpu.kernels.torch import compute, library
from pn_gpu.kernels.torch.planned import call_planned

# Skips the dispatcher's own autograd layer: `_ParticleLinear` is that layer, in half its time.
_below_autograd = torch._C._AutoDispatchBelowAutograd
_functorch_is_active = torch._C._are_functorch_transforms_active
_saved_tensors_hooks = torch._C._autograd._top_saved_tensors_default_hooks


def particle_linear(x: Tensor, particles: Particles, bias: Tensor | None, how: How | Planned) -> Tensor:
    """z [..., M] for x [..., N], differentiable with respect to every tensor; arguments are taken as checked.

    Under autocast x is cast and z returned in autocast's dtype; particles and bias stay as they are.
    """
    x = _autocast(x)
    if isinstance(how, Planned):
        return call_planned(x, particles, bias, how)
    if torch.compiler.is_compiling():
        return library.call_forward(x, particles, bias, how)
    return _apply(_ParticleLinear, _Kept(_may_keep(x, *particles, bias)), how, x, *particles, bias)


def _autocast(x: Tensor) -> Tensor:
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(device))


def _is_staged(x: Tensor) -> bool:
    """Whether somebody else than the kernels has to see the call as an operator: a transform of torch.func, a dispatch
    mode (fake tensors, FLOP counters), a tensor without memory or of a subclass."""
    if _functorch_is_active() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    return type(x) not in (Tensor, torch.nn.Parameter) or x.is_meta


class _Kept:
    """What an eager forward leaves to its backward, until that has run or the graph is dropped."""

    __slots__ = ("residuals", "wanted")

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.residuals: Residuals | None = None

    def take(self) -> Residuals | None:
        """The residuals, once: a second backward through the same graph finds out anew."""
        residuals, self.residuals = self.residuals, None
        return residuals


def _may_keep(*tensors: Tensor | None) -> bool:
    """Whether a backward may come that can take what the forward leaves.

    Hooks of saved tensors, with which checkpointing and offloading rule what a graph holds, do not see residuals.
    """
    if not torch.is_grad_enabled() or _saved_tensors_hooks(True) is not None:
        return False
    return any(t is not None and t.requires_grad for t in tensors)


class _ParticleLinear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(kept: _Kept, how: How, x: Tensor, *rest: Any) -> Tensor:
        particles, bias = Particles(*rest[:4]), rest[4]
        if _is_staged(x):
            with _below_autograd():
                return library.call_forward(x, particles, bias, how)
        z, kept.residuals = compute.forward(x, particles, bias, how, kept.wanted)
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.kept, ctx.how = inputs[:2]
        ctx.save_for_backward(*inputs[2:7])
        ctx.bias_dtype = None if inputs[7] is None else inputs[7].dtype

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        x, *particles = ctx.saved_tensors
        return (None, None, *_gradients(ctx, ctx.needs_input_grad[2:8], dz, x, Particles(*particles)))


def _gradients(
    ctx: Any, needs: tuple[bool, ...], dz: Tensor, x: Tensor, particles: Particles
) -> tuple[Tensor | None, ...]:
    """Gradients of x, of the four arrays of particles and of the bias; None where none is needed."""
    need_dx, *need_each, need_dbias = needs
    wanted = (need_dx, any(need_each), need_dbias)
    if torch.is_grad_enabled() or _is_staged(x):
        results = library.from_list(_apply(_ParticleLinearBackward, ctx.how, wanted, dz, x, *particles), *wanted)
    else:
        results = list(compute.backward(dz, x, particles, ctx.how, *wanted[:2], ctx.kept.take()))
    dx, *of_particles, dbias = results
    if not need_dbias:
        dbias = None
    elif dbias.dtype != ctx.bias_dtype:
        dbias = dbias.to(ctx.bias_dtype)
    return dx, *(g if need else None for g, need in zip(of_particles, need_each, strict=True)), dbias


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
    def forward(
        how: How, wanted: tuple[bool, bool, bool], dz: Tensor, x: Tensor, *particles: Tensor
    ) -> tuple[Tensor, ...]:
        with _below_autograd():
            return tuple(library.call_backward(dz, x, Particles(*particles), how, *wanted))

    setup_context = staticmethod(_save_nothing)
    backward = staticmethod(_refuse)


def _register(name: str) -> None:
    """Derivative and vmap of one staged operator; its settings follow the tensors of the layer."""
    forward, backward = library.FORWARD[name], library.BACKWARD[name]

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:5])
        ctx.settings = inputs[6:]
        ctx.bias_dtype = None if inputs[5] is None else inputs[5].dtype

    def differentiate(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        need_dx, *need_each, need_dbias = ctx.needs_input_grad[:6]
        wanted = (need_dx, any(need_each), need_dbias)
        results = library.from_list(backward(dz, *ctx.saved_tensors, *ctx.settings, *wanted), *wanted)
        dx, *of_particles, dbias = results
        each = (g if need else None for g, need in zip(of_particles, need_each, strict=True))
        dbias = dbias if dbias is None else dbias.to(ctx.bias_dtype)
        return (dx, *each, dbias, *(None for _ in ctx.settings))

    def vmap_forward(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
        """Batched inputs are one more leading dimension; batched particles are one layer after the other."""
        if all(dim is None for dim in in_dims[1:]):
            x, *rest = arguments
            return forward(x.movedim(in_dims[0], 0), *rest), 0
        return torch.stack([forward(*_select(arguments, in_dims, i)) for i in range(info.batch_size)]), 0

    def vmap_backward(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[list[Tensor], list[int]]:
        """A gradient per sample is a call per sample."""
        calls = [backward(*_select(arguments, in_dims, i)) for i in range(info.batch_size)]
        results = [torch.stack(gradients) for gradients in zip(*calls, strict=True)]
        return results, [0] * len(results)

    torch.library.register_autograd(f"pn_gpu::{name}", differentiate, setup_context=save)
    torch.library.register_autograd(f"pn_gpu::{name}_backward", _refuse, setup_context=_save_nothing)
    torch.library.register_vmap(f"pn_gpu::{name}", vmap_forward)
    torch.library.register_vmap(f"pn_gpu::{name}_backward", vmap_backward)


def _select(arguments: tuple[Any, ...], in_dims: tuple[int | None, ...], index: int) -> list[Any]:
    return [a if dim is None else a.select(dim, index) for a, dim in zip(arguments, in_dims, strict=True)]


for _name in library.SETTINGS:
    _register(_name)


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply`` without its binding of default arguments, which takes as long as the rest."""
    if _functorch_is_active():
        return function.apply(*arguments)
    return super(torch.autograd.Function, function).apply(*arguments)  # type: ignore[misc]
