"""The operator for torch tensors of any device, differentiable, and known to autocast, torch.func and torch.compile.

compute     one call on plain tensors: which kernels, in which dtype
library     the operators of torch.library that staged calls go through;  planned  one that plans when its graph runs
autograd    derivatives, autocast and vmap of an eager call;  staged  those of the operators
second_order    the product with the Hessian, for gradients of gradients and forward mode;  composition  Mehler's
chunks      pieces of plain tensors on this package's threads
recompute, forward_mode, grad_batches, vmap    what torch.func needs for them;  kept  from forward to backward
sets        several node sets in one call
weight      the weight matrix with its own derivative;  flops  what FLOP counters count
checks      of tensors, which torch.compile can trace
"""

from __future__ import annotations

from torch import Tensor

from pn_gpu.kernels.room import How, OperatorGradient, Particles, Residuals
from pn_gpu.kernels.torch import compute, staged  # noqa: F401 - registers what staged operators do
from pn_gpu.kernels.torch.autograd import particle_linear, particle_linear_sets
from pn_gpu.kernels.torch.library import potential_name

__all__ = ["backward", "forward", "particle_linear", "potential_name"]


def forward(
    x: Tensor, particles: Particles, bias: Tensor | None, how: How | tuple[How, ...], keep: bool = False
) -> tuple[Tensor, Residuals | None]:
    """z [..., M] for x [..., N]: with ``keep`` plain numbers and what they leave to `backward`, else differentiable."""
    if isinstance(how, tuple):
        if keep:
            bias = None if bias is None else bias.detach()
            return compute.forward_sets(x.detach(), _detached(particles), bias, how, keep)
        return particle_linear_sets(x, particles, bias, how), None
    if keep:
        return compute.forward(x.detach(), _detached(particles), None if bias is None else bias.detach(), how, keep)
    return particle_linear(x, particles, bias, how), None


def backward(
    dz: Tensor,
    x: Tensor,
    particles: Particles,
    how: How | tuple[How, ...],
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: Residuals | None = None,
) -> OperatorGradient:
    """Gradients for dz [..., M] and x [..., N]: dx in the dtype of x, the others in that of the particles."""
    if isinstance(how, tuple):
        nodes = _detached(particles)
        return compute.backward_sets(dz.detach(), x.detach(), nodes, how, need_dx, need_particles, residuals)
    return compute.backward(dz.detach(), x.detach(), _detached(particles), how, need_dx, need_particles, residuals)


def _detached(particles: Particles) -> Particles:
    return Particles(*(p.detach() for p in particles))
