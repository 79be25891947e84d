"""The weight matrix stored whole, for export, plots and tests, and its gradient."""

from __future__ import annotations

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Array, Particles


def dense_weight(particles: Particles, potential: Potential) -> Array:
    """W [N, M] with w_ij = (v_i . v_j) k(|r_i - r_j|^2), squared distances from exact differences."""
    r_in, v_in, r_out, v_out = particles
    xp = namespace_of(r_in)
    return (v_in @ xp.matrix_transpose(v_out)) * potential.value(_squared_distances(r_in, r_out))


def dense_weight_backward(dw: Array, particles: Particles, potential: Potential) -> Particles:
    """Gradients of the particles for the gradient dW [N, M] of `dense_weight`.

    ``dv_i = sum_j dw_ij k v_j`` and ``dr_i = sum_j 2 dw_ij (v_i . v_j) k' (r_i - r_j)``, and likewise for j.
    """
    r_in, v_in, r_out, v_out = particles
    xp = namespace_of(r_in)
    s = _squared_distances(r_in, r_out)
    through_dipoles = dw * potential.value(s)
    pull = 2 * dw * (v_in @ xp.matrix_transpose(v_out)) * potential.derivative(s)
    along = [pull * _differences(r_in, r_out, axis) for axis in range(r_in.shape[1])]
    return Particles(
        xp.stack([xp.sum(part, axis=1) for part in along], axis=1),
        through_dipoles @ v_out,
        xp.stack([-xp.sum(part, axis=0) for part in along], axis=1),
        xp.matrix_transpose(through_dipoles) @ v_in,
    )


def _squared_distances(r_in: Array, r_out: Array) -> Array:
    """s [N, M]."""
    xp = namespace_of(r_in)
    s = xp.zeros((r_in.shape[0], r_out.shape[0]), dtype=r_in.dtype, device=r_in.device)
    for axis in range(r_in.shape[1]):
        difference = _differences(r_in, r_out, axis)
        s += difference * difference
    return s


def _differences(r_in: Array, r_out: Array, axis: int) -> Array:
    """r_i - r_j [N, M] along an axis."""
    return r_in[:, axis][:, None] - r_out[:, axis][None, :]
