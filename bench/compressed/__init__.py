"""Networks with one hidden layer that hold few numbers: particle layers, and the usual ways to save parameters.

A family makes networks N-H-C within a budget of parameters. Each of the usual ways is written as plainly as its paper
says, in torch; weights that are not parameters are made anew at every step, by whatever autograd keeps.
"""

from bench.compressed.circulant import CirculantLinear
from bench.compressed.dense import DenseFamily, PrunedFamily
from bench.compressed.distance import DistanceFamily
from bench.compressed.family import Family, LayerFamily, Shape
from bench.compressed.fedpara import FedParaLinear
from bench.compressed.hashed import HashedLinear
from bench.compressed.low_rank import LowRankLinear
from bench.compressed.monarch import MonarchLinear
from bench.compressed.particles import FieldParticleFamily, ParticleFamily, PlacedParticleFamily

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *(ParticleFamily(*dims, shared=True) for dims in ((1, 2), (1, 4), (1, 8), (2, 2), (2, 4), (3, 3))),
        *(ParticleFamily(*dims, shared=False) for dims in ((1, 2), (1, 4), (2, 4), (3, 3), (2, 32))),
        *(PlacedParticleFamily(dipole_dim) for dipole_dim in (2, 4, 8, 32)),
        FieldParticleFamily(),
        LayerFamily("low rank", LowRankLinear),
        LayerFamily("FedPara", FedParaLinear),
        LayerFamily("hashed", HashedLinear),
        LayerFamily("monarch", MonarchLinear),
        LayerFamily("circulant", CirculantLinear),
        DistanceFamily(),
        PrunedFamily(),
        DenseFamily(),
    )
}

__all__ = ["FAMILIES", "Family", "Shape"]
