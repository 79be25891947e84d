"""Particle Networks: layers whose weights are computed from particles and never stored."""

from pathlib import Path

if not (Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(Path(__file__).parents[1]))  # a source checkout, where kernels/ lies beside pn_gpu/

from pn_gpu.backends import Backend, get_backend
from pn_gpu.dense_fit import DenseFit, fit_to_dense
from pn_gpu.interpolation import interpolation_matrix
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.potentials import register as register_potential
from pn_gpu.kernels.room import OperatorGradient
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.files import load
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.operator import dense_weight, particle_linear, particle_linear_backward, particle_linear_vjp
from pn_gpu.planning import ApproximationError, Costs, MethodPlanner, Plan, approximation_error, plan
from pn_gpu.resize import grow, prune
from pn_gpu.sensors import grid_positions, with_inputs
from pn_gpu.training.callbacks import Callback, EarlyStopping
from pn_gpu.training.history import History
from pn_gpu.training.loop import TrainingDiverged
from pn_gpu.training.optimizers import SGD, Adagrad, Adam, Optimizer, RMSProp, Rprop
from pn_gpu.training.penalties import L2, Repulsion
from pn_gpu.training.schedules import Constant, Cosine, OneCycle, Schedule

__version__ = "0.1.0"

__all__ = [
    "L2",
    "SGD",
    "Adagrad",
    "Adam",
    "ApproximationError",
    "Backend",
    "Callback",
    "Constant",
    "Cosine",
    "Costs",
    "DenseFit",
    "DenseNetwork",
    "EarlyStopping",
    "History",
    "MethodPlanner",
    "OneCycle",
    "OperatorGradient",
    "Optimizer",
    "ParticleNetwork",
    "Plan",
    "Potential",
    "RMSProp",
    "Repulsion",
    "Rprop",
    "Schedule",
    "TrainingDiverged",
    "approximation_error",
    "dense_weight",
    "fit_to_dense",
    "get_backend",
    "grid_positions",
    "grow",
    "interpolation_matrix",
    "load",
    "particle_linear",
    "particle_linear_backward",
    "particle_linear_vjp",
    "plan",
    "prune",
    "register_potential",
    "with_inputs",
]
