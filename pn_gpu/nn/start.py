"""The length of dipoles at which a new layer starts at unit scale."""

from __future__ import annotations

from pn_gpu.checks import check_integer
from pn_gpu.kernels import potentials
from pn_gpu.model.initialisation import HIDDEN_SIZE, INPUT_MOMENTS, RELU_MOMENTS, kernel_moments, layer_gain
from pn_gpu.nn.particles import Particles


def scaled_lengths(
    in_features: int | Particles, out_features: int | Particles, dim: int, dipole_dim: int | None, potential: str
) -> tuple[float, float]:
    """Lengths of the dipoles of new input and output sets at which z has about unit size."""
    # Nodes at given places are inputs of the model: no layer below made their activations.
    shared = isinstance(in_features, Particles) and not in_features.is_fixed
    gain = layer_gain(
        in_features.num if isinstance(in_features, Particles) else check_integer("in_features", in_features, low=1),
        dim if dipole_dim is None else check_integer("dipole_dim", dipole_dim, low=1),
        kernel_moments(potentials.get(potential), check_integer("dim", dim, low=1)),
        RELU_MOMENTS if shared else INPUT_MOMENTS,
        coherent=shared,
    )
    length = HIDDEN_SIZE / gain if gain > 0 else 1.0
    if isinstance(out_features, Particles):
        return length / out_features.dipole_length, 1.0
    return 1.0, length / (in_features.dipole_length if isinstance(in_features, Particles) else 1.0)
