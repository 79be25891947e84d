"""A particle layer in the place of a trained `torch.nn.Linear`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from pn_gpu.backends import to_numpy
from pn_gpu.dense_fit import fit_to_dense
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.particles import PARTICLE_DTYPES


@torch.no_grad()
def fitted_layer(linear: nn.Linear, dim: int, dipole_dim: int | None, fit_options: dict[str, Any]) -> ParticleLinear:
    """What `ParticleLinear.from_linear` returns; ``fit_options`` are those of `pn_gpu.fit_to_dense`."""
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"linear: got {type(linear).__name__}, want a torch.nn.Linear")
    weight = to_numpy(linear.weight.detach().float())
    if not weight.any() or not np.isfinite(weight).all():
        raise ValueError("linear: got weights that are not finite or all 0, want finite ones")
    fit = fit_to_dense(weight.T, dim, dipole_dim, **fit_options)
    inputs, outputs = fit.node_sets
    layer = ParticleLinear(
        linear.in_features,
        linear.out_features,
        inputs.positions.shape[1],
        bias=linear.bias is not None,
        dipole_dim=inputs.dipoles.shape[1],
        initialisation="paper",
        device=linear.weight.device,
        dtype=linear.weight.dtype if linear.weight.dtype in PARTICLE_DTYPES else torch.float32,
    )
    for nodes, fitted in ((layer.in_particles, inputs), (layer.out_particles, outputs)):
        nodes.positions.copy_(torch.from_numpy(fitted.positions))
        nodes.dipoles.copy_(torch.from_numpy(fitted.dipoles))
    if layer.bias is not None:
        layer.bias.copy_(linear.bias)
    layer.dense_fit = fit
    return layer.train(linear.training)
