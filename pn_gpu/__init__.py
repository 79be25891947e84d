"""Particle Networks: layers whose weights are computed from particles and never stored."""

from pathlib import Path

if not (Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(Path(__file__).parents[1]))  # a source checkout, where kernels/ lies beside pn_gpu/

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.potentials import Potential
from pn_gpu.operator import dense_weight, particle_linear, particle_linear_backward
from pn_gpu.planning import ApproximationError, Costs, MethodPlanner, Plan, approximation_error, plan

__version__ = "0.1.0"

__all__ = [
    "ApproximationError",
    "Costs",
    "MethodPlanner",
    "OperatorGradient",
    "Plan",
    "Potential",
    "approximation_error",
    "dense_weight",
    "particle_linear",
    "particle_linear_backward",
    "plan",
]
