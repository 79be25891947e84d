"""Layers whose inputs are sensors with known places, and others in their stead: `pn_gpu.with_inputs` for modules."""

from __future__ import annotations

import copy
from typing import Any, TypeVar, cast

import torch

from pn_gpu.backends import to_numpy
from pn_gpu.kernels.room import Particles as LayerParticles
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.mlp import ParticleMLP
from pn_gpu.nn.particles import Particles
from pn_gpu.sensors import new_dipoles

Module = TypeVar("Module", ParticleLinear, ParticleMLP)


@torch.no_grad()
def with_inputs(module: Module, positions: Any, interpolation: str = "kriging") -> Module:
    """A copy for sensors at other places: some dropped, moved, or another grid; nothing is trained.

    Parameters
    ----------
    module : ParticleLinear or ParticleMLP
        Whose input node set has given places: ``positions=``.
    positions : array or Tensor, [N', n]
        Places of the new sensors, in the units of the old ones.
    interpolation : {"kriging", "nearest"}, default "kriging"
        As in `pn_gpu.with_inputs`, where the rule is explained.

    Returns
    -------
    ParticleLinear or ParticleMLP
        Like ``module``, with nothing shared. A layer in a model is exchanged so:
        ``model[0] = with_inputs(model[0], positions)``.

    Raises
    ------
    ValueError, TypeError
        If the module is another, its input positions are trained, or ``positions`` do not fit.
    """
    if not isinstance(module, ParticleLinear | ParticleMLP):
        raise TypeError(f"module: got {type(module).__name__}, want a ParticleLinear or ParticleMLP")
    result: Any = copy.deepcopy(module)
    first: ParticleLinear = result if isinstance(result, ParticleLinear) else result.layers[0]
    first.in_particles = _other_inputs(first, positions, interpolation)
    if isinstance(result, ParticleMLP):
        result.sizes = (first.in_features, *result.sizes[1:])
    return cast(Module, result)


def _other_inputs(layer: ParticleLinear, positions: Any, interpolation: str) -> Particles:
    old = layer.in_particles
    if not isinstance(old, Particles) or not old.is_fixed:
        raise ValueError("module: got one that trains its input positions, want one made with positions=")
    particles = LayerParticles(*map(to_numpy, (*old(), *layer.out_particles())))
    dipoles = new_dipoles(particles, layer.potential, positions, interpolation)
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
    new.dipoles.requires_grad_(old.dipole_parameter.requires_grad)
    return new.train(old.training)
