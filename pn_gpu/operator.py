"""The one seam between the network API and the kernels.

It checks arguments, picks the room of `pn_gpu.kernels` that serves the arrays it is given, and calls it.
Every public function takes the arrays of one library (NumPy, CuPy, torch, or any CPU library of the array API
standard) and returns arrays of the same library on the same device.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from array_api_compat import array_namespace

from pn_gpu.dispatch import check_arrays, check_particles, check_shape, is_tensor, is_traced, mehler_room, select_room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.dense import dense_weight as _dense_weight
from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.potentials import Potential
from pn_gpu.planning.decision import FEWEST_WEIGHTS
from pn_gpu.planning.plan import METHODS, Plan, check_method
from pn_gpu.planning.recent import single_call_plan

Array = Any

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
    method: str | Plan = "auto",
    rtol: float = 1e-3,
) -> Array:
    """A linear layer whose weights are computed from particles and never stored.

    ``z_bj = sum_i x_bi w_ij + b_j`` with ``w_ij = (v_i . v_j) k(|r_i - r_j|^2)`` (Eq. 3 and 4 of the paper).

    Parameters
    ----------
    x : array, [..., N]
        Inputs, of a floating dtype. NaN and inf pass through to z as they do in a dense product.
    r_in, v_in : array, [N, n] and [N, d]
        Positions and dipoles of the input particles.
    r_out, v_out : array, [M, n] and [M, d]
        Positions and dipoles of the output particles.
    bias : array, [M], optional
    potential : str or Potential, default "gaussian"
        The pairwise function k(s).
    method : {"auto", "direct", "mehler"} or Plan, default "auto"
        "direct" computes every weight, exact to the dtype; on the CPU a Gaussian below the root of the smallest
        normal number (1e-19 in float32) is 0. "mehler" approximates W to ``rtol`` in O(N + M), for the Gaussian
        only; where that takes more work than W has weights it falls back to direct. "auto" takes
        "mehler" where it is predicted to be at least 1.5 times as fast. A plan made by `plan` or a
        `MethodPlanner` is used as it is and spares the time of planning.
    rtol : float, default 1e-3
        Tolerance of |dW|_F / |W|_F of an approximate method, 0 <= rtol <= 1; 0 means direct. So |dz| is about
        rtol |z|, and likewise dx; gradients of dipoles may err twice, those of positions 2.5 to 6 times as much.

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
    _check_forward(x, r_in, v_in, r_out, v_out, bias)
    room, pairwise, matrix = select_room(x), potentials.get(potential), _as_matrix(x)
    approximation = _approximation(method, rtol, pairwise, matrix, r_in, v_in, r_out, v_out)
    if approximation is None:
        z = room.forward(matrix, r_in, v_in, r_out, v_out, bias, pairwise)
    else:
        fast = mehler_room(x)
        z = fast.forward(matrix, r_in, v_in, r_out, v_out, bias, pairwise, approximation)
    return _reshape(z, (*x.shape[:-1], r_out.shape[0]))


def particle_linear_vjp(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None = None,
    potential: str | Potential = "gaussian",
    method: str | Plan = "auto",
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
    _check_forward(x, r_in, v_in, r_out, v_out, bias)
    if is_tensor(x):
        x, r_in, v_in, r_out, v_out = (a.detach() for a in (x, r_in, v_in, r_out, v_out))
        bias = None if bias is None else bias.detach()
    pairwise, matrix, particles = potentials.get(potential), _as_matrix(x), (r_in, v_in, r_out, v_out)
    approximation = _approximation(method, rtol, pairwise, matrix, *particles)
    room = select_room(x) if approximation is None else mehler_room(x)
    settings = () if approximation is None else (approximation,)
    kept = {}
    if hasattr(room, "forward_with_residuals"):
        z, kept["residuals"] = room.forward_with_residuals(matrix, *particles, bias, pairwise, *settings)
    else:
        z = room.forward(matrix, *particles, bias, pairwise)

    def pull_back(dz: Array, need_dx: bool = True, need_particles: bool = True) -> OperatorGradient:
        check_arrays(dz=dz, x=x)
        check_shape("dz", dz, (*x.shape[:-1], r_out.shape[0]), "[..., M]")
        arguments = (_as_matrix(dz), matrix, *particles, pairwise, need_dx, need_particles, *settings)
        return _with_shape(room.backward(*arguments, **kept), x.shape)

    return _reshape(z, (*x.shape[:-1], r_out.shape[0])), pull_back


def particle_linear_backward(
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: str | Potential = "gaussian",
    method: str | Plan = "auto",
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
    check_arrays(dz=dz, x=x, r_in=r_in, v_in=v_in, r_out=r_out, v_out=v_out)
    check_particles(r_in, v_in, r_out, v_out)
    check_shape("x", x, (*x.shape[:-1], r_in.shape[0]), "[..., N]")
    check_shape("dz", dz, (*x.shape[:-1], r_out.shape[0]), "[..., M]")
    room, pairwise, matrix, dz_matrix = select_room(x), potentials.get(potential), _as_matrix(x), _as_matrix(dz)
    approximation = _approximation(method, rtol, pairwise, matrix, r_in, v_in, r_out, v_out)
    arguments = (dz_matrix, matrix, r_in, v_in, r_out, v_out, pairwise, need_dx, need_particles)
    if approximation is None:
        gradient = room.backward(*arguments)
    else:
        gradient = mehler_room(x).backward(*arguments, approximation)
    return _with_shape(gradient, x.shape)


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
    check_arrays(r_in=r_in, v_in=v_in, r_out=r_out, v_out=v_out)
    check_particles(r_in, v_in, r_out, v_out)
    return _dense_weight(r_in, v_in, r_out, v_out, potentials.get(potential))


def _check_forward(x: Array, r_in: Array, v_in: Array, r_out: Array, v_out: Array, bias: Array | None) -> None:
    check_arrays(x=x, r_in=r_in, v_in=v_in, r_out=r_out, v_out=v_out, bias=bias)
    check_particles(r_in, v_in, r_out, v_out)
    check_shape("x", x, (*x.shape[:-1], r_in.shape[0]), "[..., N]")
    if bias is not None:
        check_shape("bias", bias, (r_out.shape[0],), "[M]")


def _approximation(
    method: str | Plan,
    rtol: float,
    potential: Potential,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
) -> Approximation | None:
    """What to compute the layer by, the same for its forward and its backward; None for every weight."""
    if isinstance(method, Plan):
        method.check_fits(potential, r_in, v_in, r_out)
        return method.approximation
    check_method(method, rtol)
    # A plan reads the particles: inside a graph that is being traced there is nothing to read.
    if method == "direct" or (method == "auto" and (_is_never_fast(r_in, r_out, potential) or is_traced(x))):
        return None
    if is_tensor(x):
        r_in, v_in, r_out, v_out = (a.detach() for a in (r_in, v_in, r_out, v_out))
    return single_call_plan(r_in, v_in, r_out, v_out, x.shape[0], potential, method, float(rtol)).approximation


def _is_never_fast(r_in: Array, r_out: Array, potential: Potential) -> bool:
    """Whether "auto" means direct, found in a microsecond."""
    return r_in.shape[0] * r_out.shape[0] <= FEWEST_WEIGHTS or potential.name != "gaussian"


def _as_matrix(a: Array) -> Array:
    """[..., N] as [B, N]; a reshape to (-1, N) would be ambiguous for an empty batch."""
    return _reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))


def _with_shape(gradient: OperatorGradient, shape: tuple[int, ...]) -> OperatorGradient:
    """The gradient with dx, if there is one, in the shape of x."""
    return gradient if gradient.dx is None else gradient._replace(dx=_reshape(gradient.dx, shape))


def _reshape(a: Array, shape: tuple[int, ...]) -> Array:
    if tuple(a.shape) == tuple(shape):
        return a
    return a.reshape(shape) if is_tensor(a) else array_namespace(a).reshape(a, shape)
