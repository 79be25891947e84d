"""What all derivatives of the operator beyond its gradient come from: one product with a Hessian.

With S(dz, x, P) = sum_b dz_b . F(x_b, P), F the operator without bias and P the particles, the operator's gradient is
that of S. Let H be the Hessian of S with respect to (dz, x, P), and u = (u_dz, u_x, u_P). Then H u is

    the gradient's backward          for the cotangents (0, u_x, u_P) of dx and the particle gradients
    the operator's forward mode      its dz part, for the tangents u_x and u_P; dz and u_dz do not matter
    the gradient's forward mode      its x and P parts, for the tangents u.

It is computed in chunks of input particles, made of operations that torch differentiates: no weight is stored, and
third and higher derivatives are torch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from pn_gpu.kernels.numpy.tiles import layer_work
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Direct, How, Particles
from pn_gpu.kernels.torch import chunks, composition, compute
from pn_gpu.kernels.torch.forward_mode import nestable
from pn_gpu.kernels.torch.recompute import recomputed

# Pairs of particles whose weights exist at once: on each of our threads, where a product of fewer rows is slow; and
# where torch records what is computed, which costs more for every chunk.
THREAD_PAIRS, THREAD_ROWS, CHUNK_PAIRS = 1 << 17, 64, 1 << 18
# Features of all particles with which the Mehler method stays on one thread: its operations are too small to share out.
MOST_SERIAL_FEATURES = 1 << 22


class Direction(NamedTuple):
    """u, or H u: one part for each argument of S; None is zero, or not asked for."""

    dz: Tensor | None  # [..., M]
    x: Tensor | None  # [..., N]
    particles: Particles | None


def hessian_product(
    dz: Tensor, x: Tensor, particles: Particles, u: Direction, how: How, need_dz: bool, need_rest: bool
) -> Direction:
    """H u at (dz, x, particles), each part in the shape and dtype of its argument.

    Parameters
    ----------
    dz : Tensor, [..., M]
    x : Tensor, [..., N]
    particles : Particles
    u : Direction
    how : Direct or Mehler
        With Mehler S is that of the approximated operator, whose expansion is held constant.
    need_dz, need_rest : bool
        Whether H u is wanted with respect to dz, and to x and the particles.

    Raises
    ------
    ValueError
        If the potential has no second derivative, and it is needed.
    """
    if torch._C._are_functorch_transforms_active():
        tensors = dz, x, *particles, u.dz, u.x, *(u.particles or (None,) * 4)
        values: Any = chunks.values_of(*tensors)
        if values is not None:
            dz, x, u_dz, u_x = values[0], values[1], values[6], values[7]
            u = Direction(u_dz, u_x, None if u.particles is None else Particles(*values[8:]))
            with temporarily_clear_interpreter_stack():
                return hessian_product(dz, x, Particles(*values[2:6]), u, how, need_dz, need_rest)
    dtype = _dtype_of(dz, x, *particles)
    arguments = [_matrix(dz, dtype), _matrix(x, dtype), *(p.to(dtype) for p in particles)]
    directions = [None if t is None else _matrix(t, dtype) for t in (u.dz, u.x)]
    directions += [None] * 4 if u.particles is None else [p.to(dtype) for p in u.particles]
    if isinstance(how, Direct):
        results = _direct_product(how.potential, need_dz, need_rest, *arguments, *directions)
    else:
        features = (len(particles.r_in) + len(particles.r_out)) * how.approximation.expansion.num_features
        with chunks.one_thread() if features < MOST_SERIAL_FEATURES and x.device.type == "cpu" else nullcontext():
            results = composition.hessian_product(how.approximation, need_dz, need_rest, *arguments, *directions)
    h_dz, h_x, *h_particles = (
        None if h is None else h.reshape(t.shape).to(t.dtype) for h, t in zip(results, (dz, x, *particles), strict=True)
    )
    return Direction(h_dz if need_dz else None, h_x, Particles(*h_particles) if need_rest else None)


def _dtype_of(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def _matrix(x: Tensor, dtype: torch.dtype) -> Tensor:
    return compute.as_matrix(x).to(dtype)


def _direct_product(
    potential: Potential, need_dz: bool, need_rest: bool, dz: Any, x: Any, *rest: Any
) -> Sequence[Tensor | None]:
    """The parts of H u that are wanted, in the order dz, x, r_in, v_in, r_out, v_out, chunk by chunk.

    The arguments are dz [B, M], x [B, N] and the particles, then u likewise; its parts may be None.
    """
    r_in, v_in, r_out, v_out, u_dz, u_x, ur_in, uv_in, ur_out, uv_out = rest
    centre = torch.cat([r_in, r_out]).mean(0).detach()
    r_in, r_out = r_in - centre, r_out - centre
    of_outputs = dz, u_dz, r_out, v_out, ur_out, uv_out
    plain = chunks.are_plain(*of_outputs, x, *rest)
    least, pairs = (THREAD_ROWS, THREAD_PAIRS) if plain else (1, CHUNK_PAIRS)
    height = max(least, pairs // max(len(r_out), 1))
    of_inputs = zip(
        *(_split(t, height, -1) for t in (x, u_x)),
        *(_split(t, height, 0) for t in (r_in, v_in, ur_in, uv_in)),
        strict=False,
    )
    num_summed = need_dz + 2 * need_rest
    compute_chunk: Callable[..., tuple[Tensor, ...]] = partial(_of_chunk, potential, need_dz, need_rest)
    if not plain:
        compute_chunk = partial(recomputed, compute_chunk, height * len(r_out))

    def total(group: Iterable[tuple[Tensor | None, ...]]) -> tuple[list[Tensor], list[tuple[Tensor, ...]]]:
        sums: list[Tensor] = []
        parts: list[tuple[Tensor, ...]] = []
        for of_chunk in group:
            results = compute_chunk(*of_outputs, *of_chunk)
            summed = results[:num_summed]
            sums = [a + b for a, b in zip(sums, summed, strict=True)] if parts else list(summed)
            parts.append(results[num_summed:])
        return sums, parts

    work = 4 * layer_work(len(x), len(r_in), len(r_out))
    groups = chunks.in_groups(total, list(of_inputs), work) if plain else [total(of_inputs)]
    sums = [sum(each[1:], each[0]) for each in zip(*(of_group for of_group, _ in groups), strict=True)]
    parts = [part for _, parts in groups for part in parts]
    if not need_rest:
        return *sums, *[None] * 5
    h_x, h_r_in, h_v_in = (torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (-1, 0, 0), strict=True))
    *h_dz, h_r_out, h_v_out = sums
    return *(h_dz if need_dz else (None,)), h_x, h_r_in, h_v_in, h_r_out, h_v_out


def _split(t: Tensor | None, height: int, dim: int) -> Iterable[Tensor | None]:
    return repeat(None) if t is None else t.split(height, dim)


def _of_chunk(
    potential: Potential,
    need_dz: bool,
    need_rest: bool,
    dz: Tensor,  # [B, M]
    u_dz: Tensor | None,
    r_j: Tensor,  # [M, n]
    v_j: Tensor,  # [M, d]
    ur_j: Tensor | None,
    uv_j: Tensor | None,
    x: Tensor,  # [B, I]
    u_x: Tensor | None,
    r_i: Tensor,  # [I, n]
    v_i: Tensor,  # [I, d]
    ur_i: Tensor | None,
    uv_i: Tensor | None,
) -> tuple[Tensor, ...]:
    """What the input particles of a chunk contribute: to dz, r_j and v_j, and all of x, r_i and v_i."""
    if ur_i is None or uv_i is None or ur_j is None or uv_j is None:
        ur_i, uv_i, ur_j, uv_j = (torch.zeros_like(t) for t in (r_i, v_i, r_j, v_j))
    s, ds = _squares(r_i, r_j, ur_i, ur_j, potential.smooth_at_zero)
    c = v_i @ v_j.T  # [I, M] as all that follow
    dc = uv_i @ v_j.T + v_i @ uv_j.T
    k, k1 = _derivative(potential, 0, s), _derivative(potential, 1, s)
    dk = k1 * ds
    w, dw = c * k, dc * k + c * dk

    results = []
    if need_dz:
        results.append(x @ dw if u_x is None else x @ dw + u_x @ w)
    if not need_rest:
        return tuple(results)
    g = x.T @ dz
    dg = torch.zeros_like(g)
    if u_x is not None:
        dg = dg + u_x.T @ dz
    if u_dz is not None:
        dg = dg + x.T @ u_dz
    h_x = dz @ dw.T if u_dz is None else dz @ dw.T + u_dz @ w.T
    # Products of the particle gradients' weights and their tangents, which their sums over pairs are linear in.
    along_v, d_along_v = g * k, dg * k + g * dk
    along_r = 2 * g * c
    d_along_r = (2 * dg * c + 2 * g * dc) * k1 + along_r * (_derivative(potential, 2, s) * ds)
    along_r = along_r * k1
    h_v_i = d_along_v @ v_j + along_v @ uv_j
    h_v_j = d_along_v.T @ v_i + along_v.T @ uv_i
    h_r_i = _differences(d_along_r, r_i, r_j) + _differences(along_r, ur_i, ur_j)
    h_r_j = _differences(d_along_r.T, r_j, r_i) + _differences(along_r.T, ur_j, ur_i)
    return (*results, h_r_j, h_v_j, h_x, h_r_i, h_v_i)


def _squares(r_i: Tensor, r_j: Tensor, ur_i: Tensor, ur_j: Tensor, expanded: bool) -> tuple[Tensor, Tensor]:
    """s = |r_i - r_j|^2 and its tangent [I, M]; ``expanded`` squares are one product, but have lost digits near 0."""
    if expanded:
        s = r_i.square().sum(1)[:, None] + r_j.square().sum(1) - 2 * r_i @ r_j.T
        ds = (r_i * ur_i).sum(1)[:, None] + (r_j * ur_j).sum(1) - ur_i @ r_j.T - r_i @ ur_j.T
        return s - s.detach().clamp(max=0), 2 * ds  # a clamp of s itself would have no derivative there
    s = ds = r_i.new_zeros(())
    for axis in range(r_i.shape[1]):
        difference = r_i[:, axis, None] - r_j[:, axis]
        s = s + difference * difference
        ds = ds + 2 * difference * (ur_i[:, axis, None] - ur_j[:, axis])
    return s, ds


def _differences(weights: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """sum_j weights_ij (a_i - b_j): [I, n]."""
    return weights.sum(1)[:, None] * a - weights @ b


def _derivative(potential: Potential, order: int, s: Tensor) -> Tensor:
    """k, k' or k'' of s, each of which is the derivative of the one before also where torch's would be 1 / 0."""
    if order < 2:
        return _Derivative.apply(potential, order, s)
    if potential.second_derivative is None:
        raise ValueError(
            f"potential: {potential.name!r} has no second derivative, which gradients of gradients need: give "
            "Potential(..., second_derivative=...)"
        )
    return potential.second_derivative(s)


class _Derivative(torch.autograd.Function):
    @staticmethod
    def forward(potential: Potential, order: int, s: Tensor) -> Tensor:
        return potential.derivative(s) if order else potential.value(s)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Potential, int, Tensor], output: Tensor) -> None:
        ctx.potential, ctx.order, s = inputs
        ctx.save_for_backward(s)
        ctx.save_for_forward(s)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[None, None, Tensor]:
        return None, None, cotangent * _derivative(ctx.potential, ctx.order + 1, *ctx.saved_tensors)

    @staticmethod
    @nestable
    def jvp(ctx: Any, saved: list[Tensor], _: None, __: None, tangent: Tensor) -> Tensor:
        return tangent * _derivative(ctx.potential, ctx.order + 1, *saved)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[None, None, int], potential: Potential, order: int, s: Tensor
    ) -> tuple[Tensor, int]:
        return _Derivative.apply(potential, order, s), in_dims[2]
