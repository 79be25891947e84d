"""The weight matrix stored whole, for export, plots and tests."""

from __future__ import annotations

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Array, Particles


def dense_weight(particles: Particles, potential: Potential) -> Array:
    """W [N, M] with w_ij = (v_i . v_j) k(|r_i - r_j|^2), squared distances from exact differences."""
    r_in, v_in, r_out, v_out = particles
    xp = namespace_of(r_in)
    s = xp.zeros((r_in.shape[0], r_out.shape[0]), dtype=r_in.dtype, device=r_in.device)
    for axis in range(r_in.shape[1]):
        difference = r_in[:, axis][:, None] - r_out[:, axis][None, :]
        s += difference * difference
    return (v_in @ xp.matrix_transpose(v_out)) * potential.value(s)
