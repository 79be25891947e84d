"""Particle layers as `torch.nn.Module`: the operator of `pn_gpu.particle_linear` for models written in torch.

A layer takes the place of an `torch.nn.Linear` and keeps O(N + M) parameters where that keeps O(N M)::

    from pn_gpu.nn import ParticleLinear, ParticleMLP

    model = nn.Sequential(ParticleLinear(784, 512, dim=3), nn.ReLU(), ParticleLinear(512, 10, dim=3))
    mlp = ParticleMLP([784, 512, 10], dim=3)        # the node set between two layers belongs to both
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pn_gpu.kernels.torch import flops  # noqa: F401  (registers its formulas)
from pn_gpu.nn.batched import BatchedParticleLinear
from pn_gpu.nn.dipole_field import DipoleField
from pn_gpu.nn.initialisation import calibrate, parameter_groups
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.mlp import ParticleMLP
from pn_gpu.nn.particles import Particles, shared_particles
from pn_gpu.nn.sensors import with_inputs
from pn_gpu.nn.traffic import GradientTraffic, gradient_bytes

if TYPE_CHECKING:
    from pn_gpu.nn.parallel import ColwiseParticleParallel, RowwiseParticleParallel

__all__ = [
    "BatchedParticleLinear",
    "ColwiseParticleParallel",
    "DipoleField",
    "GradientTraffic",
    "ParticleLinear",
    "ParticleMLP",
    "Particles",
    "RowwiseParticleParallel",
    "calibrate",
    "gradient_bytes",
    "parameter_groups",
    "shared_particles",
    "with_inputs",
]


def __getattr__(name: str) -> Any:
    """The styles of tensor parallelism when they are asked for: torch's own take a second to import."""
    if name in ("ColwiseParticleParallel", "RowwiseParticleParallel"):
        from pn_gpu.nn import parallel

        return getattr(parallel, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
