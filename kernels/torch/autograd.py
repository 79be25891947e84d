"""Derivatives, autocast and vmap of the operator for torch tensors.

An eager call runs one `torch.autograd.Function` over `pn_gpu.kernels.torch.compute`. Where a call is staged, by
torch.compile or by the transforms of torch.func, it goes through the operators of `pn_gpu.kernels.torch.library`, which
have the same derivative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._functorch.autograd_function import enable_single_level_autograd_function
from torch.autograd import forward_ad

from pn_gpu.kernels.room import Direct, How, Mehler, OperatorGradient, Particles
from pn_gpu.kernels.staging import Planned
from pn_gpu.kernels.torch import compute, library, sets
from pn_gpu.kernels.torch.forward_mode import nestable
from pn_gpu.kernels.torch.grad_batches import sees_batches
from pn_gpu.kernels.torch.kept import Kept, may_keep
from pn_gpu.kernels.torch.library import Staged
from pn_gpu.kernels.torch.planned import call_planned
from pn_gpu.kernels.torch.second_order import Direction, hessian_product
from pn_gpu.kernels.torch.vmap import select, stacked, vmap_list

# Skips the dispatcher's own autograd layer: `_ParticleLinear` is that layer, in half its time.
_below_autograd = torch._C._AutoDispatchBelowAutograd
_functorch_is_active = torch._C._are_functorch_transforms_active


def particle_linear(x: Tensor, particles: Particles, bias: Tensor | None, how: How | Planned) -> Tensor:
    """z [..., M] for x [..., N], differentiable with respect to every tensor; arguments are taken as checked.

    Under autocast x is cast and z returned in autocast's dtype; particles and bias stay as they are.
    """
    x = _autocast(x)
    if isinstance(how, Planned):
        return call_planned(x, particles, bias, how)
    if torch.compiler.is_compiling():
        return library.call_forward(x, particles, bias, how)
    return _apply(_ParticleLinear, Kept(may_keep(x, *particles, bias)), how, x, *particles, bias)


def particle_linear_sets(x: Tensor, particles: Particles, bias: Tensor | None, how: tuple[How, ...]) -> Tensor:
    """z [S, B, M] for x [S, B, N] and stacked particles, as `particle_linear`; 1 set of an array is shared by all."""
    x = _autocast(x)
    if torch.compiler.is_compiling() or _is_staged(x) or forward_ad._current_level >= 0:
        return sets.stack_of_calls(particle_linear, x, particles, bias, how)
    kept = Kept(may_keep(x, *particles, bias))
    return _apply(sets.ParticleLinearSets, _one_backward, kept, how, x, *particles, bias)


def _one_backward(
    how: How, wanted: tuple[bool, bool, bool], dz: Tensor, x: Tensor, particles: Particles
) -> list[Tensor | None]:
    return library.from_list(_apply(_ParticleLinearBackward, how, *wanted, dz, x, *particles), *wanted)


def dtype_under_autocast(x: Tensor) -> torch.dtype:
    """The dtype in which x is computed with: its own, or that of autocast where it is on."""
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
        return x.dtype
    return torch.get_autocast_dtype(device)


def _autocast(x: Tensor) -> Tensor:
    return x.to(dtype_under_autocast(x))


@contextmanager
def _next_level() -> Iterator[None]:
    """Below autograd of the level at hand, where outer levels of torch.func differentiate as they did."""
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True), _below_autograd():
        yield


def _is_staged(x: Tensor) -> bool:
    """Whether somebody else than the kernels has to see the call as an operator: a transform of torch.func, a dispatch
    mode (fake tensors, FLOP counters), a tensor without memory or of a subclass."""
    if _functorch_is_active() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    return type(x) not in (Tensor, torch.nn.Parameter) or x.is_meta


class _ParticleLinear(torch.autograd.Function):
    """The operator; its forward mode goes through `second_order`."""

    @staticmethod
    def forward(kept: Kept, how: How | Staged, x: Tensor, *rest: Any) -> Tensor:
        particles, bias = Particles(*rest[:4]), rest[4]
        if isinstance(how, Staged) or _is_staged(x):
            with _next_level():
                return library.call_forward(x, particles, bias, how)
        z, kept.residuals = compute.forward(x, particles, bias, how, kept.wanted)
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.kept, ctx.how = inputs[:2]
        ctx.save_for_backward(*inputs[2:7])
        ctx.save_for_forward(*inputs[2:7])
        ctx.bias_dtype = None if inputs[7] is None else inputs[7].dtype

    @staticmethod
    @sees_batches
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        x, *particles = ctx.saved_tensors
        return (None, None, *_gradients(ctx, ctx.needs_input_grad[2:8], dz, x, Particles(*particles)))

    @staticmethod
    @nestable
    def jvp(ctx: Any, saved: list[Tensor], *tangents: Any) -> Tensor:
        x, *particles = saved
        u_x, *u_particles, u_bias = tangents[2:]
        u = Direction(None, u_x, _complete(u_particles, particles))
        nothing = x.new_zeros(()).expand(*x.shape[:-1], len(particles[2]))  # S is linear in dz
        tangent: Any = _hessian_product(nothing, x, Particles(*particles), u, ctx.how, True, False).dz
        return tangent if u_bias is None else (tangent + u_bias).to(tangent.dtype)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], kept: Kept, how: How | Staged, *tensors: Tensor) -> Any:
        call = partial(_apply, _ParticleLinear, Kept(False), how)
        return _vmap_forward(call, how, info, in_dims[2:], *tensors)


def _gradients(
    ctx: Any, needs: tuple[bool, ...], dz: Tensor, x: Tensor, particles: Particles
) -> tuple[Tensor | None, ...]:
    """Gradients of x, of the four arrays of particles and of the bias; None where none is needed."""
    need_dx, *need_each, need_dbias = needs
    wanted = (need_dx, any(need_each), need_dbias)
    results: list[Any]
    if isinstance(ctx.how, Staged):
        results = library.from_list(library.call_backward(dz, x, particles, ctx.how, *wanted), *wanted)
    elif torch.is_grad_enabled() or _is_staged(x):
        results = library.from_list(_apply(_ParticleLinearBackward, ctx.how, *wanted, dz, x, *particles), *wanted)
    else:
        results = list(compute.backward(dz, x, particles, ctx.how, *wanted[:2], ctx.kept.take()))
    dx, *of_particles, dbias = results
    if dbias is None or not need_dbias:
        dbias = None
    elif dbias.dtype != ctx.bias_dtype:
        dbias = dbias.to(ctx.bias_dtype)
    return dx, *(g if need else None for g, need in zip(of_particles, need_each, strict=True)), dbias


def _complete(parts: Sequence[Tensor | None], particles: Sequence[Tensor]) -> Particles | None:
    """Directions of the four arrays of particles, zeros where one has none; None where none has one."""
    if all(part is None for part in parts):
        return None
    return Particles(*(torch.zeros_like(p) if t is None else t for t, p in zip(parts, particles, strict=True)))


def _hessian_product(
    dz: Tensor, x: Tensor, particles: Particles, u: Direction, how: How | Staged, need_dz: bool, need_rest: bool
) -> Direction:
    if isinstance(how, Staged):
        return library.call_hessian(dz, x, particles, u, how, need_dz, need_rest)
    return hessian_product(dz, x, particles, u, how, need_dz, need_rest)


class _ParticleLinearBackward(torch.autograd.Function):
    """The operator's gradient; its derivatives go through `second_order`."""

    @staticmethod
    def forward(how: How | Staged, need_dx: bool, need_particles: bool, need_dbias: bool, *tensors: Tensor) -> Any:
        dz, x, *particles = tensors
        with _next_level():
            return tuple(library.call_backward(dz, x, Particles(*particles), how, need_dx, need_particles, need_dbias))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.how, *ctx.wanted = inputs[:4]
        ctx.save_for_backward(*inputs[4:])
        ctx.save_for_forward(*inputs[4:])
        ctx.set_materialize_grads(False)

    @staticmethod
    @sees_batches
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        dz, x, *particles = ctx.saved_tensors
        u_x, *u_particles, u_bias = library.from_list(cotangents, *ctx.wanted)
        u = Direction(None, u_x, _complete(u_particles, particles))
        needs = ctx.needs_input_grad[4:]
        h = _hessian_product(dz, x, Particles(*particles), u, ctx.how, needs[0], any(needs[1:]))
        h_dz = h.dz if u_bias is None or h.dz is None else h.dz + u_bias.to(h.dz.dtype)
        return None, None, None, None, h_dz, h.x, *(h.particles or (None,) * 4)

    @staticmethod
    @nestable
    def jvp(ctx: Any, saved: list[Tensor], *tangents: Tensor | None) -> tuple[Tensor, ...]:
        dz, x, *particles = saved
        u_dz, u_x, *u_particles = tangents[4:]
        u = Direction(u_dz, u_x, _complete(u_particles, particles))
        h = _hessian_product(dz, x, Particles(*particles), u, ctx.how, False, any(ctx.wanted[:2]))
        dbias = compute.as_matrix(torch.zeros_like(dz) if u_dz is None else u_dz).sum(0).to(particles[2].dtype)
        gradient = OperatorGradient(*(h.x, *(h.particles or (None,) * 4), dbias))
        return tuple(library.as_list(gradient, *ctx.wanted))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        how, wanted, tensors = arguments[0], arguments[1:4], arguments[4:]
        if isinstance(how, Direct | Mehler) and not sets.may_be_differentiated(*tensors):
            dz, x, *particles = (stacked(a, dim, info.batch_size) for a, dim in zip(tensors, in_dims[4:], strict=True))
            if not _is_staged(x):
                size = math.prod(x.shape[1:-1])
                dz, matrix = dz.reshape(len(x), size, dz.shape[-1]), x.reshape(len(x), size, x.shape[-1])
                nodes = Particles(*particles)
                gradient = sets.gradients_of_sets(_one_backward, (how,) * len(x), wanted, dz, matrix, nodes)
                if gradient.dx is not None:
                    gradient = gradient._replace(dx=gradient.dx.reshape(x.shape))
                results = tuple(library.as_list(gradient, *wanted))
                return results, (0,) * len(results)
        return vmap_list(partial(_apply, _ParticleLinearBackward), info, in_dims, *arguments)


class _LastStaged(torch.autograd.Function):
    """The product with the Hessian as an operator, whose own derivatives are not staged."""

    @staticmethod
    def forward(hessian: Any, *arguments: Any) -> tuple[Tensor, ...]:
        with _next_level():
            return tuple(hessian(*arguments))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """A refusal needs nothing."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> NoReturn:
        raise RuntimeError(
            "particle_linear: third derivatives are not implemented under torch.compile; take them in eager mode"
        )

    jvp = backward


def _register(name: str) -> None:
    """Derivatives and vmap of the staged operators of one way to compute the layer."""
    forward, backward, hessian = (group[name] for group in (library.FORWARD, library.BACKWARD, library.HESSIAN))

    def differentiable_forward(x: Tensor, *rest: Any) -> Tensor:
        return _apply_here(_ParticleLinear, Kept(False), Staged(name, rest[5:]), x, *rest[:5])

    def differentiable_backward(*arguments: Any) -> list[Tensor]:
        tensors, settings, wanted = arguments[:6], arguments[6:-3], arguments[-3:]
        return list(_apply_here(_ParticleLinearBackward, Staged(name, settings), *wanted, *tensors))

    def differentiable_hessian(*arguments: Any) -> list[Tensor]:
        return list(_apply_here(_LastStaged, hessian, *arguments))

    library.implement(forward, differentiable_forward, "Autograd")
    library.implement(backward, differentiable_backward, "Autograd")
    library.implement(hessian, differentiable_hessian, "Autograd")
    torch.library.register_vmap(forward, partial(_vmap_forward, forward, None))
    torch.library.register_vmap(backward, partial(vmap_list, backward))
    torch.library.register_vmap(hessian, partial(vmap_list, hessian))


def _vmap_forward(
    call: Any, how: How | Staged | None, info: Any, in_dims: tuple[int | None, ...], *arguments: Any
) -> tuple[Tensor, int]:
    """Batched inputs are one more leading dimension; batched particles are sets, or where staged one call each."""
    if all(dim is None for dim in in_dims[1:]):
        x, *rest = arguments
        return call(x.movedim(in_dims[0], 0), *rest), 0
    if isinstance(how, Direct | Mehler):
        x, *rest = (stacked(a, dim) for a, dim in zip(arguments, in_dims, strict=True))
        if not _is_staged(x):
            matrix = x.reshape(len(x), math.prod(x.shape[1:-1]), x.shape[-1])
            z = particle_linear_sets(matrix, Particles(*rest[:4]), rest[4], (how,) * info.batch_size)
            return z.reshape(len(z), *x.shape[1:-1], z.shape[-1]), 0
    return torch.stack([call(*select(arguments, in_dims, i)) for i in range(info.batch_size)]), 0


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply`` without its binding of default arguments, which takes as long as the rest."""
    if _functorch_is_active():
        return function.apply(*arguments)
    return _apply_here(function, *arguments)


def _apply_here(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply`` of the dispatcher's level at hand, which torch.func has seen to."""
    base: Any = super(torch.autograd.Function, function)
    if not _functorch_is_active():
        return base.apply(*arguments)
    with enable_single_level_autograd_function():
        return base.apply(*arguments)


for _name in library.SETTINGS:
    _register(_name)
