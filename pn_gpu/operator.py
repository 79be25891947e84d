"""The one seam between the network API and the kernels.

It checks arguments, picks the room of `pn_gpu.kernels` that serves the arrays it is given, and calls it.
Every public function takes the arrays of one library (NumPy, CuPy, torch, or any CPU library of the array API
standard) and returns arrays of the same library on the same device.
"""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace

from pn_gpu.checks import check_choice, check_number
from pn_gpu.dispatch import check_arrays, is_tensor, select_room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.dense import dense_weight as _dense_weight
from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.potentials import Potential

Array = Any

METHODS = ("auto", "direct")


def particle_linear(
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None = None,
    potential: str | Potential = "gaussian",
    method: str = "auto",
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
    method : {"auto", "direct"}, default "auto"
        "direct" computes every weight, exact to the dtype.
    rtol : float, default 1e-3
        Relative tolerance of an approximate method, 0 <= rtol <= 1; "direct" does not use it.

    Returns
    -------
    z : array, [..., M]

    Raises
    ------
    ValueError
        If shapes do not fit, the arrays are on different devices, or a name is unknown.
    TypeError
        If an argument is no array of a supported library, or dtypes do not agree.
    """
    check_arrays(x=x, r_in=r_in, v_in=v_in, r_out=r_out, v_out=v_out, bias=bias)
    _check_particles(r_in, v_in, r_out, v_out)
    _check_shape("x", x, (*x.shape[:-1], r_in.shape[0]), "[..., N]")
    if bias is not None:
        _check_shape("bias", bias, (r_out.shape[0],), "[M]")
    _check_method(method, rtol)
    room = select_room(x)
    z = room.forward(_as_matrix(x), r_in, v_in, r_out, v_out, bias, potentials.get(potential))
    return _reshape(z, (*x.shape[:-1], r_out.shape[0]))


def particle_linear_backward(
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: str | Potential = "gaussian",
    method: str = "auto",
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
    _check_particles(r_in, v_in, r_out, v_out)
    _check_shape("x", x, (*x.shape[:-1], r_in.shape[0]), "[..., N]")
    _check_shape("dz", dz, (*x.shape[:-1], r_out.shape[0]), "[..., M]")
    _check_method(method, rtol)
    room = select_room(x)
    gradient = room.backward(
        _as_matrix(dz),
        _as_matrix(x),
        r_in,
        v_in,
        r_out,
        v_out,
        potentials.get(potential),
        need_dx=need_dx,
        need_particles=need_particles,
    )
    return gradient._replace(dx=_reshape(gradient.dx, x.shape)) if need_dx else gradient


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
    _check_particles(r_in, v_in, r_out, v_out)
    return _dense_weight(r_in, v_in, r_out, v_out, potentials.get(potential))


def _as_matrix(a: Array) -> Array:
    """[..., N] as [B, N]; a reshape to (-1, N) would be ambiguous for an empty batch."""
    return _reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))


def _reshape(a: Array, shape: tuple[int, ...]) -> Array:
    if tuple(a.shape) == tuple(shape):
        return a
    return a.reshape(shape) if is_tensor(a) else array_namespace(a).reshape(a, shape)


def _check_method(method: str, rtol: float) -> None:
    check_choice("method", method, METHODS)
    check_number("rtol", rtol, low=0, high=1)


def _check_particles(r_in: Array, v_in: Array, r_out: Array, v_out: Array) -> None:
    for name, a in (("r_in", r_in), ("v_in", v_in), ("r_out", r_out), ("v_out", v_out)):
        if a.ndim != 2 or a.shape[1] < 1:
            raise ValueError(f"{name}: got shape {tuple(a.shape)}, want two dimensions [particles, components >= 1]")
    _check_shape("v_in", v_in, (r_in.shape[0], v_in.shape[1]), "[N, d] with the N of r_in")
    _check_shape("r_out", r_out, (r_out.shape[0], r_in.shape[1]), "[M, n] with the n of r_in")
    _check_shape("v_out", v_out, (r_out.shape[0], v_in.shape[1]), "[M, d] with the M of r_out and the d of v_in")


def _check_shape(name: str, a: Array, want: tuple[int, ...], meaning: str) -> None:
    if a.ndim == 0 or tuple(a.shape) != want:
        raise ValueError(f"{name}: got shape {tuple(a.shape)}, want {want}, {meaning}")
