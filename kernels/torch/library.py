"""The operator, its gradient, the product with its Hessian and the gradient of that as operators of `torch.library`,
for whatever stages a call: compiled graphs, torch.func, export.

Three of each: ``pn_gpu::particle_linear`` computes every weight, and a potential travels by its name;
``pn_gpu::mehler_linear`` takes the expansion packed into one tensor; ``pn_gpu::chosen_linear`` the number of what was
chosen when the graph ran (`pn_gpu.kernels.torch.planned`). Here are the schemas, the implementations, and what tracing
needs to know of them: shapes, dtypes and strides of their results (fakes). All take x [..., N] of any leading
dimensions and return contiguous tensors. A backward returns a list of what was asked for: dx, four particle gradients,
dbias; so does a product with the Hessian: the parts of dz, of x and of the four arrays of particles. The gradient of
that has a part for each of these six, then for each of the directions that were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pn_gpu.kernels import potentials, staging
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.packing import pack, unpack
from pn_gpu.kernels.room import Direct, How, Mehler, OperatorGradient, Particles
from pn_gpu.kernels.torch import compute
from pn_gpu.kernels.torch.second_order import Direction, hessian_product

# How a call is computed, as its operators take it.
SETTINGS = {
    "particle_linear": "str potential, str? precision",
    "mehler_linear": "Tensor packed",
    "chosen_linear": "Tensor choice",
}
LAYER = "Tensor x, Tensor r_in, Tensor v_in, Tensor r_out, Tensor v_out"
NEEDS = "bool need_dx, bool need_particles, bool need_dbias"
_DIRECTION = "Tensor? u_dz, Tensor? u_x, Tensor? u_r_in, Tensor? u_v_in, Tensor? u_r_out, Tensor? u_v_out"

_library = torch.library.Library("pn_gpu", "DEF")
_packed: WeakKeyDictionary[Approximation, Tensor] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Staged:
    """How a call is computed, for which pair of operators and as they take it; its tensor may have no numbers."""

    name: str
    settings: tuple[Any, ...]


def call_forward(x: Tensor, particles: Particles, bias: Tensor | None, how: How | Staged) -> Tensor:
    """z by the operator that stages ``how``."""
    staged = _staged(how)
    return FORWARD[staged.name](x, *particles, bias, *staged.settings)


def call_backward(
    dz: Tensor,
    x: Tensor,
    particles: Particles,
    how: How | Staged,
    need_dx: bool,
    need_particles: bool,
    need_dbias: bool,
) -> list[Tensor]:
    """What was asked for, by the operator that stages ``how``."""
    staged = _staged(how)
    return BACKWARD[staged.name](dz, x, *particles, *staged.settings, need_dx, need_particles, need_dbias)


def call_hessian(
    dz: Tensor, x: Tensor, particles: Particles, u: Direction, how: How | Staged, need_dz: bool, need_rest: bool
) -> Direction:
    """`second_order.hessian_product` by the operator that stages ``how``."""
    staged = _staged(how)
    directions = u.dz, u.x, *(u.particles or (None,) * 4)
    given = iter(HESSIAN[staged.name](dz, x, *particles, *directions, *staged.settings, need_dz, need_rest))
    h_dz = next(given) if need_dz else None
    return Direction(h_dz, next(given), Particles(*given)) if need_rest else Direction(h_dz, None, None)


def potential_name(potential: str | potentials.Potential) -> str:
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


def implement(operator: Any, function: Any, key: str) -> None:
    """Let ``function`` be what an operator of this library does for a dispatch key."""
    _library.impl(operator, function, key)


def _staged(how: How | Staged) -> Staged:
    if isinstance(how, Staged):
        return how
    if isinstance(how, Direct):
        return Staged("particle_linear", (potential_name(how.potential), how.precision))
    return Staged("mehler_linear", (_packed_tensor(how.approximation),))


def _packed_tensor(approximation: Approximation) -> Tensor:
    tensor = _packed.get(approximation)
    if tensor is None:
        tensor = _packed[approximation] = torch.from_numpy(pack(approximation))
    return tensor


def how_of(name: str, settings: Sequence[Any]) -> How:
    """How a staged call is computed."""
    if name == "particle_linear":
        return Direct(potentials.get(settings[0]), settings[1])
    if name == "chosen_linear":
        return staging.recall(int(settings[0]))
    return Mehler(unpack(compute.view(settings[0].cpu())))


def _as_outermost() -> Any:
    """Lets torch.func work in what an operator does, which the dispatcher calls below autograd and below torch.func."""
    return torch._C._ForceDispatchKeyGuard(*_keys_of_a_new_thread())


@cache
def _keys_of_a_new_thread() -> tuple[Any, Any]:
    with ThreadPoolExecutor(1) as pool:
        included = pool.submit(torch._C._dispatch_tls_local_include_set).result()
        return included, pool.submit(torch._C._dispatch_tls_local_exclude_set).result()


def as_list(gradient: OperatorGradient, need_dx: bool, need_particles: bool, need_dbias: bool) -> list[Tensor]:
    """The gradients that were asked for, in order."""
    wanted = (need_dx, *[need_particles] * 4, need_dbias)
    return [g for g, is_wanted in zip(gradient, wanted, strict=True) if is_wanted]


def from_list(
    gradients: Sequence[Tensor | None], need_dx: bool, need_particles: bool, need_dbias: bool
) -> list[Tensor | None]:
    """All six gradients, None where one was not asked for."""
    given = iter(gradients)
    return [next(given) if wanted else None for wanted in (need_dx, *[need_particles] * 4, need_dbias)]


def _define(name: str, settings: str) -> None:
    tags = (torch.Tag.pt2_compliant_tag,)
    _library.define(f"{name}({LAYER}, Tensor? bias, {settings}) -> Tensor", tags=tags)
    _library.define(f"{name}_backward(Tensor dz, {LAYER}, {settings}, {NEEDS}) -> Tensor[]", tags=tags)
    needs = "bool need_dz, bool need_rest"
    point = f"Tensor dz, {LAYER}, {_DIRECTION}, {settings}, {needs}"
    _library.define(f"{name}_hessian({point}) -> Tensor[]", tags=tags)
    _library.define(f"{name}_hessian_backward(Tensor[] cotangents, {point}) -> Tensor[]", tags=tags)

    def forward(x: Tensor, *rest: Any) -> Tensor:
        particles, bias, settings = Particles(*rest[:4]), rest[4], rest[5:]
        return compute.forward(x, particles, bias, how_of(name, settings))[0]

    def backward(dz: Tensor, x: Tensor, *rest: Any) -> list[Tensor]:
        particles, settings, needs = Particles(*rest[:4]), rest[4:-3], rest[-3:]
        residuals = staging.take_residuals(int(settings[0])) if name == "chosen_linear" else None
        gradient = compute.backward(dz, x, particles, how_of(name, settings), needs[0], needs[1], residuals)
        return as_list(gradient, *needs)

    def hessian(*arguments: Any) -> list[Tensor]:
        with torch.no_grad(), _as_outermost():
            return [part.contiguous() for part in _hessian_parts(name, *arguments)]

    def hessian_backward(cotangents: list[Tensor], *arguments: Any) -> list[Tensor]:
        with torch.enable_grad(), _as_outermost():
            tensors = [None if t is None else t.detach().requires_grad_() for t in arguments[:12]]
            parts = _hessian_parts(name, *tensors, *arguments[12:])
            given = [t for t in tensors if t is not None]
            gradients = torch.autograd.grad(parts, given, cotangents, allow_unused=True, materialize_grads=True)
        return [g.contiguous() for g in gradients]

    def forward_fake(x: Tensor, *rest: Any) -> Tensor:
        return x.new_empty((*x.shape[:-1], rest[2].shape[0]))

    def backward_fake(dz: Tensor, x: Tensor, *rest: Any) -> list[Tensor]:
        particles, needs = Particles(*rest[:4]), rest[-3:]
        empty = [t.new_empty(t.shape) for t in (x, *particles)]
        dbias = particles.r_out.new_empty((particles.r_out.shape[0],))
        return as_list(OperatorGradient._make((*empty, dbias)), *needs)

    def hessian_fake(dz: Tensor, *rest: Any) -> list[Tensor]:
        need_dz, need_rest = rest[-2:]
        return [t.new_empty(t.shape) for t in (*([dz] if need_dz else []), *(rest[:5] if need_rest else []))]

    def hessian_backward_fake(cotangents: list[Tensor], *arguments: Any) -> list[Tensor]:
        return [t.new_empty(t.shape) for t in arguments[:12] if t is not None]

    for suffix, function, fake in (
        ("", forward, forward_fake),
        ("_backward", backward, backward_fake),
        ("_hessian", hessian, hessian_fake),
        ("_hessian_backward", hessian_backward, hessian_backward_fake),
    ):
        for device in ("CPU", "CUDA"):
            _library.impl(name + suffix, function, device)
        torch.library.register_fake(f"pn_gpu::{name}{suffix}", fake, lib=_library)


def _hessian_parts(name: str, *arguments: Any) -> list[Tensor]:
    """The parts of a product with the Hessian that are asked for, by the arguments of its operator."""
    (dz, x, *particles), (u_dz, u_x, *u_particles) = arguments[:6], arguments[6:12]
    directions = None if u_particles[0] is None else Particles(*u_particles)
    u, how = Direction(u_dz, u_x, directions), how_of(name, arguments[12:-2])
    h = hessian_product(dz, x, Particles(*particles), u, how, *arguments[-2:])
    return [part for part in (h.dz, h.x, *(h.particles or ())) if part is not None]


_library.define("refused_derivative(Tensor like, Tensor cotangent) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
torch.library.register_fake("pn_gpu::refused_derivative", lambda like, _: torch.empty_like(like), lib=_library)
for _name, _settings in SETTINGS.items():
    _define(_name, _settings)

FORWARD = {name: getattr(torch.ops.pn_gpu, name).default for name in SETTINGS}
BACKWARD = {name: getattr(torch.ops.pn_gpu, f"{name}_backward").default for name in SETTINGS}
HESSIAN = {name: getattr(torch.ops.pn_gpu, f"{name}_hessian").default for name in SETTINGS}
HESSIAN_BACKWARD = {name: getattr(torch.ops.pn_gpu, f"{name}_hessian_backward").default for name in SETTINGS}
