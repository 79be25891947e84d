"""Layers whose inputs are sensors with known places, and others in their stead: `pn_gpu.with_inputs` for modules."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn

from pn_gpu.backends import to_numpy
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.mlp import ParticleMLP
from pn_gpu.nn.particles import Particles
from pn_gpu.sensors import handed_over

Module = TypeVar("Module", Particles, ParticleLinear, ParticleMLP)


@torch.no_grad()
def with_inputs(module: Module, positions: Any, interpolation: str = "kriging") -> Module:
    """A copy for sensors at other places: some dropped, moved, or another grid; nothing is trained.

    Parameters
    ----------
    module : ParticleLinear, ParticleMLP or Particles
        Whose input node set (or which itself) has given places: ``positions=``.
    positions : array or Tensor, [N', n]
        Places of the new sensors, in the units of the old ones.
    interpolation : {"kriging", "nearest"}, default "kriging"
        As in `pn_gpu.with_inputs`, where the rule is explained.

    Returns
    -------
    ParticleLinear, ParticleMLP or Particles
        Like ``module``, with nothing shared. A layer in a model is exchanged so:
        ``model[0] = with_inputs(model[0], positions)``.

    Raises
    ------
    ValueError, TypeError
        If the module is another, its input positions are trained, or ``positions`` do not fit.
    """
    if isinstance(module, Particles):
        return _node_set(module, positions, interpolation)
    if not isinstance(module, ParticleLinear | ParticleMLP):
        raise TypeError(f"module: got {type(module).__name__}, want a ParticleLinear, ParticleMLP or Particles")
    result = copy.deepcopy(module)
    first = result if isinstance(result, ParticleLinear) else result.layers[0]
    first.in_particles = _node_set(first.in_particles, positions, interpolation)
    if isinstance(result, ParticleMLP):
        result.sizes = (first.in_features, *result.sizes[1:])
    return result


def _node_set(old: nn.Module, positions: Any, interpolation: str) -> Particles:
    if not isinstance(old, Particles) or not old.is_fixed:
        raise ValueError("module: got one that trains its input positions, want one made with positions=")
    dipoles = handed_over(to_numpy(old.dipoles), to_numpy(old.positions), positions, interpolation)
    new = Particles(
        len(dipoles),
        old.dim,
        old.dipole_dim,
        dipole_length=old.dipole_length,
        positions=positions,
        device=old.dipoles.device,
        dtype=old.dipoles.dtype,
    )
    new.dipoles.copy_(torch.as_tensor(dipoles))
    new.dipoles.requires_grad_(old.dipoles.requires_grad)
    return new.train(old.training)
