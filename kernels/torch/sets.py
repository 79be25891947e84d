"""Many layers of one shape in one call, for torch tensors: differentiable, and what vmap over particles becomes.

An eager call is one node of the graph. Its derivatives of higher order, and calls that something else than autograd
has to see (torch.func, torch.compile, forward mode, dispatch modes), go set by set. As in `pn_gpu.kernels.sets` an
array may have 1 set that all share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pn_gpu.kernels.room import How, OperatorGradient, Particles
from pn_gpu.kernels.sets import of_set, select_set
from pn_gpu.kernels.torch import compute
from pn_gpu.kernels.torch.grad_batches import sees_batches

One = Callable[..., Any]


def stack_of_calls(one: One, x: Tensor, particles: Particles, bias: Tensor | None, how: Sequence[How]) -> Tensor:
    """z [S, B, M], by ``one(x, particles, bias, how)`` for every set."""
    each = [
        one(of_set(x, s), select_set(particles, s), None if bias is None else of_set(bias, s), how_of_set)
        for s, how_of_set in enumerate(how)
    ]
    return torch.stack(each) if each else x.new_zeros((0, x.shape[1], particles.r_out.shape[1]))


class ParticleLinearSets(torch.autograd.Function):
    """The operator for x [S, B, N]; ``one_backward`` takes the gradients of one set, differentiably."""

    @staticmethod
    def forward(ctx: Any, one_backward: One, kept: Any, how: tuple[How, ...], x: Tensor, *rest: Any) -> Tensor:
        particles, bias = Particles(*rest[:4]), rest[4]
        ctx.one_backward, ctx.kept, ctx.how = one_backward, kept, how
        ctx.bias_like = None if bias is None else (bias.dtype, len(bias))
        ctx.save_for_backward(x, *particles)
        z, kept.residuals = compute.forward_sets(x, particles, bias, how, kept.wanted)
        return z

    @staticmethod
    @sees_batches
    def backward(ctx: Any, dz: Tensor) -> tuple[Any, ...]:
        x, *particles = ctx.saved_tensors
        need_dx, *need_each, need_dbias = ctx.needs_input_grad[3:]
        nodes, wanted = Particles(*particles), (need_dx, any(need_each), need_dbias)
        of_sets = gradients_of_sets(ctx.one_backward, ctx.how, wanted, dz, x, nodes, ctx.kept.take())
        dx, *of_particles, dbias = of_sets
        if need_dbias:
            dtype, sets = ctx.bias_like
            dbias = (dbias if len(dbias) == sets else dbias.sum(0, keepdim=True)).to(dtype)
        each = (g if need else None for g, need in zip(of_particles, need_each, strict=True))
        return None, None, None, dx, *each, dbias if need_dbias else None


def may_be_differentiated(*tensors: Tensor) -> bool:
    """Whether anybody may ask for a derivative of what is computed of the tensors."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return True
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def gradients_of_sets(
    one_backward: One,
    how: tuple[How, ...],
    wanted: tuple[bool, bool, bool],
    dz: Tensor,
    x: Tensor,
    particles: Particles,
    residuals: Any = None,
) -> OperatorGradient:
    """Gradients of all sets: in one call, or where they are differentiated themselves set by set."""
    if not (how and may_be_differentiated(dz, x, *particles)):
        return compute.backward_sets(dz.contiguous(), x, particles, how, *wanted[:2], residuals)
    each = [one_backward(how[s], wanted, dz[s], of_set(x, s), select_set(particles, s)) for s in range(len(how))]
    stacks = [None if g[0] is None else torch.stack(g) for g in zip(*each, strict=True)]
    return OperatorGradient._make(
        g.sum(0, keepdim=True) if g is not None and like is not None and len(like) < len(g) else g
        for g, like in zip(stacks, (x, *particles, None), strict=True)
    )
