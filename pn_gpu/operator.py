"""The one seam between the network API and the kernels.

It checks arguments, picks the room of `pn_gpu.kernels` that serves the arrays it is given, and calls it.
Every public function takes the arrays of one library (NumPy, CuPy, torch, or any CPU library of the array API
standard) and returns arrays of the same library on the same device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from array_api_compat import array_namespace

from pn_gpu.dispatch import (
    check_arrays,
    check_particles,
    check_shape,
    is_tensor,
    room_of,
)
from pn_gpu.kernels import potentials
from pn_gpu.kernels.dense import dense_weight as _dense_weight
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Array, How, OperatorGradient, Particles
from pn_gpu.kernels.sets import select_set
from pn_gpu.planning.calls import how_of_each, how_to_compute, how_when_staged
from pn_gpu.planning.plan import METHODS, Plan

__all__ = ["METHODS", "PullBack", "dense_weight", "particle_linear", "particle_linear_backward", "particle_linear_vjp"]


class PullBack(Protocol):
    """Takes a gradient back through one call of the operator."""

    def __call__(self, dz: Array, need_dx: bool = True, need_particles: bool = True) -> OperatorGradient:
        """Gradients for dz [..., M], as `particle_linear_backward` returns them."""


def particle_linear(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None = None,
    potential: str | Potential = "gaussian",
    method: str | Plan | How = "auto",
    rtol: float = 1e-3,
) -> Array:
    """A linear layer whose weights are computed from particles and never stored.

    ``z_bj = sum_i x_bi w_ij + b_j`` with ``w_ij = (v_i . v_j) k(|r_i - r_j|^2)`` (Eq. 3 and 4 of the paper).

    Parameters
    ----------
    x : array, [..., N]
        Inputs, of a floating dtype. NaN and inf pass through to z as they do in a dense product.
        With batched node sets [S..., ..., N].
    r_in, v_in : array, [N, n] and [N, d]
        Positions and dipoles of the input particles.
    r_out, v_out : array, [M, n] and [M, d]
        Positions and dipoles of the output particles.

        All four may have the same leading dimensions S... (heads, experts, an ensemble), and then x and the bias have
        them first, too: that many layers in one call, each with its own inputs. Inputs that all share are broadcast
        by the caller, and read in place. On a GPU direct sets are one launch of each kernel; on the CPU small sets are
        shared out to the threads. Sets that a plan computes by the Mehler method go one after the other.
        A `Plan` belongs to one set; "auto" and "mehler" plan every set.
    bias : array, [M], optional
    potential : str or Potential, default "gaussian"
        The pairwise function k(s).
    method : {"auto", "direct", "mehler"} or Plan, default "auto"
        "direct" computes every weight, exact to the dtype; on the CPU a Gaussian below the root of the smallest
        normal number (1e-19 in float32) is 0. "mehler" approximates W to ``rtol`` in O(N + M), for the Gaussian
        only; where that takes more work than W has weights it falls back to direct. "auto" takes
        "mehler" where it is predicted to be at least 1.5 times as fast, planning included: calls with layers of one
        shape share their plans, and are direct until they have earned the search. A plan made by `plan` or a
        `MethodPlanner` spares the time of planning; it is used as long as it holds for the particles (`Plan.covers`),
        then the call plans as the plan was asked for.
    rtol : float, default 1e-3
        Tolerance of |dW|_F / |W|_F of an approximate method, 0 <= rtol <= 1; 0 means direct. So |dz| is about
        rtol |z|, and likewise dx; gradients of dipoles may err twice, those of positions 2.5 to 6 times as much. In
        use of a plan for particles on the move it may be twice that, and more where z cancels (see `Plan`).

    Returns
    -------
    z : array, [..., M]

    Raises
    ------
    ValueError
        If shapes do not fit, the arrays are on different devices, a name is unknown, or the method is "mehler"
        and the potential is not the Gaussian or a particle is not finite.
    TypeError
        If an argument is no array of a supported library, or dtypes do not agree.
    """
    particles = Particles(r_in, v_in, r_out, v_out)
    _check_forward(x, particles, bias)
    matrix, nodes, bias = _without_leading(x, particles, bias)
    how = _how(how_when_staged, method, rtol, potential, matrix, nodes)
    z, _ = room_of(x, how).forward(matrix, nodes, bias, how)
    return _reshape(z, (*x.shape[:-1], r_out.shape[-2]))


def particle_linear_vjp(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None = None,
    potential: str | Potential = "gaussian",
    method: str | Plan | How = "auto",
    rtol: float = 1e-3,
) -> tuple[Array, PullBack]:
    """`particle_linear`, and the function that takes a gradient back through it: a step of training.

    It costs less than `particle_linear` and `particle_linear_backward` one after the other: the forward leaves its
    tables of the particles to the backward, and with the Mehler method its sums over the inputs, [n P, B], and up to
    64 MB of features.

    Parameters
    ----------
    x, r_in, v_in, r_out, v_out, bias, potential, method, rtol
        As in `particle_linear`. They must not be changed in place before the gradient is taken back.

    Returns
    -------
    z : array, [..., M]
        Autograd of torch does not follow it: there, use `particle_linear`.
    pull_back : callable
        ``pull_back(dz, need_dx=True, need_particles=True)`` returns the `OperatorGradient` that
        `particle_linear_backward` returns; it may be called any number of times.

    Raises
    ------
    ValueError, TypeError
        As `particle_linear`.

    Examples
    --------
    >>> z, pull_back = particle_linear_vjp(x, r_in, v_in, r_out, v_out, bias)
    >>> gradient = pull_back(z - target)
    """
    particles = Particles(r_in, v_in, r_out, v_out)
    _check_forward(x, particles, bias)
    matrix, nodes, bias = _without_leading(x, particles, bias)
    how = _how(how_to_compute, method, rtol, potential, matrix, nodes)
    room = room_of(x, how)
    z, residuals = room.forward(matrix, nodes, bias, how, keep=True)

    def pull_back(dz: Array, need_dx: bool = True, need_particles: bool = True) -> OperatorGradient:
        check_arrays(dz=dz, x=x)
        check_shape("dz", dz, (*x.shape[:-1], r_out.shape[-2]), "[..., M]")
        dz_matrix = _as_matrix(dz, r_in.ndim - 2)
        gradient = room.backward(dz_matrix, matrix, nodes, how, need_dx, need_particles, residuals)
        return _with_shapes(gradient, x, particles)

    return _reshape(z, (*x.shape[:-1], r_out.shape[-2])), pull_back


def particle_linear_backward(
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: str | Potential = "gaussian",
    method: str | Plan | How = "auto",
    rtol: float = 1e-3,
    need_dx: bool = True,
    need_particles: bool = True,
) -> OperatorGradient:
    """Gradients of a loss with respect to the arguments of `particle_linear`.

    With ``G = x^T dz``, ``c_ij = v_i . v_j``, ``k`` and ``k'`` taken at ``s_ij = |r_i - r_j|^2``::

        dx_bi = sum_j dz_bj w_ij                dbias_j = sum_b dz_bj
        dv_i  = sum_j G_ij k v_j                dv_j = sum_i G_ij k v_i
        dr_i  = sum_j 2 G_ij c_ij k' (r_i - r_j)      dr_j = - sum_i 2 G_ij c_ij k' (r_i - r_j)

    Parameters
    ----------
    dz : array, [..., M]
        Gradient of the loss with respect to z.
    x, r_in, v_in, r_out, v_out, potential, method, rtol
        As in `particle_linear`.
    need_dx, need_particles : bool, default True
        Whether dx, and whether the four particle gradients, are wanted; what is not is None.

    Returns
    -------
    OperatorGradient
        ``dx`` [..., N], ``dr_in`` [N, n], ``dv_in`` [N, d], ``dr_out`` [M, n], ``dv_out`` [M, d] and
        ``dbias`` [M].

    Raises
    ------
    ValueError, TypeError
        As `particle_linear`.
    """
    particles = Particles(r_in, v_in, r_out, v_out)
    check_arrays(dz=dz, x=x, **particles._asdict())
    check_particles(particles, sets_allowed=True)
    _check_inputs(x, particles)
    check_shape("dz", dz, (*x.shape[:-1], r_out.shape[-2]), "[..., M]")
    matrix, nodes, _ = _without_leading(x, particles, None)
    how = _how(partial(how_to_compute, is_backward=True), method, rtol, potential, matrix, nodes)
    dz_matrix = _as_matrix(dz, r_in.ndim - 2)
    gradient = room_of(x, how).backward(dz_matrix, matrix, nodes, how, need_dx, need_particles)
    return _with_shapes(gradient, x, particles)


def dense_weight(
    r_in: Array, v_in: Array, r_out: Array, v_out: Array, potential: str | Potential = "gaussian"
) -> Array:
    """The weight matrix itself, ``w_ij = (v_i . v_j) k(|r_i - r_j|^2)`` (Eq. 3): for export, plots and tests.

    Parameters
    ----------
    r_in, v_in, r_out, v_out, potential
        As in `particle_linear`.

    Returns
    -------
    W : array, [N, M]
        It takes O(N M) memory, which `particle_linear` never does.

    Raises
    ------
    ValueError, TypeError
        As `particle_linear`.
    """
    particles = Particles(r_in, v_in, r_out, v_out)
    check_arrays(**particles._asdict())
    check_particles(particles, sets_allowed=True)
    pairwise = potentials.get(potential)
    if r_in.ndim == 2:
        return _dense_weight(particles, pairwise)
    xp = array_namespace(r_in)
    sets = _flat_sets(particles)
    weights = [_dense_weight(select_set(sets, s), pairwise) for s in range(sets.r_in.shape[0])]
    shape = (*r_in.shape[:-1], r_out.shape[-2])
    return xp.reshape(xp.stack(weights), shape) if weights else xp.zeros(shape, dtype=r_in.dtype, device=r_in.device)


def _check_forward(x: Array, particles: Particles, bias: Array | None) -> None:
    check_arrays(x=x, **particles._asdict(), bias=bias)
    check_particles(particles, sets_allowed=True)
    _check_inputs(x, particles)
    if bias is not None:
        check_shape("bias", bias, tuple(particles.r_out.shape[:-1]), "[M] after the sets of r_in, if any")


def _check_inputs(x: Array, particles: Particles) -> None:
    """x [..., N], which with sets has their dimensions first."""
    sets, num_in = tuple(particles.r_in.shape[:-2]), particles.r_in.shape[-2]
    if sets and (x.ndim <= len(sets) or tuple(x.shape[: len(sets)]) != sets or x.shape[-1] != num_in):
        raise ValueError(
            f"x: got shape {tuple(x.shape)}, want the sets {sets} of r_in first and N = {num_in} last; "
            "inputs that all sets share are broadcast to that"
        )
    check_shape("x", x, (*x.shape[:-1], num_in), "[..., N]")


def _how(of_one: Callable[..., Any], *call: Any) -> Any:
    """How to compute the call (method, rtol, potential, x, particles): by ``of_one``, for every set if there are."""
    return of_one(*call) if call[-1].r_in.ndim == 2 else how_of_each(of_one, *call)


def _without_leading(x: Array, particles: Particles, bias: Array | None) -> tuple[Array, Particles, Array | None]:
    """x as [B, N]; or with sets, of any number of dimensions, all arrays with one dimension of sets."""
    num_sets = particles.r_in.ndim - 2
    x = _as_matrix(x, num_sets)
    if num_sets < 2:
        return x, particles, bias
    bias = None if bias is None else _reshape(bias, (math.prod(bias.shape[:-1]), bias.shape[-1]))
    return x, _flat_sets(particles), bias


def _flat_sets(particles: Particles) -> Particles:
    return Particles(*(_reshape(p, (math.prod(p.shape[:-2]), *p.shape[-2:])) for p in particles))


def _as_matrix(a: Array, num_sets: int = 0) -> Array:
    """[..., N] as [B, N], or as [S, B, N]; a reshape to (-1, N) would be ambiguous for an empty batch."""
    sets = (math.prod(a.shape[:num_sets]),) if num_sets else ()
    return _reshape(a, (*sets, math.prod(a.shape[num_sets:-1]), a.shape[-1]))


def _with_shapes(gradient: OperatorGradient, x: Array, particles: Particles) -> OperatorGradient:
    """Every gradient in the shape of what it belongs to."""
    shapes = (x.shape, *(p.shape for p in particles), particles.r_out.shape[:-1])
    return OperatorGradient._make(
        None if g is None else _reshape(g, shape) for g, shape in zip(gradient, shapes, strict=True)
    )


def _reshape(a: Array, shape: tuple[int, ...]) -> Array:
    if tuple(a.shape) == tuple(shape):
        return a
    return a.reshape(shape) if is_tensor(a) else array_namespace(a).reshape(a, shape)
