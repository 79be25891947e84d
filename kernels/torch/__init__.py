"""The operator for torch tensors, as operators that autograd, autocast, vmap and torch.compile know.

``forward`` and ``backward`` have the signature of every room of `pn_gpu.kernels`; what ``forward`` returns
is differentiable. `particle_linear` is the same with the potential by name, for modules. Which kernels do the
work depends on the device: `pn_gpu.kernels.numpy` on the CPU (zero-copy), `pn_gpu.kernels.triton` on CUDA.
`through_room` makes another room, such as the approximate ones, differentiable for autograd.
"""

from __future__ import annotations

from torch import Tensor

from pn_gpu.kernels import potentials
from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.torch.autograd import particle_linear, through_room
from pn_gpu.kernels.torch.library import BACKWARD

__all__ = ["backward", "forward", "particle_linear", "potential_name", "through_room"]


def forward(
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    bias: Tensor | None,
    potential: Potential,
    input_precision: str | None = None,
) -> Tensor:
    """z [..., M] for x [..., N], differentiable once with respect to every tensor."""
    return particle_linear(x, r_in, v_in, r_out, v_out, bias, potential_name(potential), input_precision)


def backward(
    dz: Tensor,
    x: Tensor,
    r_in: Tensor,
    v_in: Tensor,
    r_out: Tensor,
    v_out: Tensor,
    potential: Potential,
    need_dx: bool = True,
    need_particles: bool = True,
    input_precision: str | None = None,
) -> OperatorGradient:
    """Gradients for dz [..., M] and x [..., N]: dx in the dtype of x, the others in that of the particles."""
    settings = (potential_name(potential), input_precision)
    gradients = iter(BACKWARD(dz, x, r_in, v_in, r_out, v_out, *settings, need_dx, need_particles, True))
    dx = next(gradients) if need_dx else None
    dr_in, dv_in, dr_out, dv_out = (next(gradients) if need_particles else None for _ in range(4))
    return OperatorGradient(dx, dr_in, dv_in, dr_out, dv_out, next(gradients))


def potential_name(potential: str | Potential) -> str:
    """The name by which ``potential`` travels through torch operators, which take no Python objects.

    Raises
    ------
    ValueError
        If no potential of that name is registered, or another one than this.
    """
    known = potentials.get(potential)
    if known.name not in potentials.names() or potentials.get(known.name) is not known:
        raise ValueError(
            f"potential: got the unregistered Potential {known.name!r}, want a registered one: torch "
            "operators find a potential by its name (register it with pn_gpu.register_potential)"
        )
    return known.name
