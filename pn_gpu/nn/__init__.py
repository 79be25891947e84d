"""Particle layers as `torch.nn.Module`: the operator of `pn_gpu.particle_linear` for models written in torch.

A layer takes the place of an `torch.nn.Linear` and keeps O(N + M) parameters where that keeps O(N M)::

    from pn_gpu.nn import ParticleLinear, ParticleMLP

    model = nn.Sequential(ParticleLinear(784, 512, dim=3), nn.ReLU(), ParticleLinear(512, 10, dim=3))
    mlp = ParticleMLP([784, 512, 10], dim=3)        # the node set between two layers belongs to both
"""

from pn_gpu.nn.initialisation import calibrate, parameter_groups
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.mlp import ParticleMLP
from pn_gpu.nn.particles import Particles
from pn_gpu.nn.traffic import GradientTraffic, gradient_bytes

__all__ = [
    "GradientTraffic",
    "ParticleLinear",
    "ParticleMLP",
    "Particles",
    "calibrate",
    "gradient_bytes",
    "parameter_groups",
]
