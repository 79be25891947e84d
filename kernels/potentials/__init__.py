"""Pairwise functions k(s), one file each, with its derivative and its CUDA expressions."""

from pn_gpu.kernels.potentials._potential import Potential, get, names, register
from pn_gpu.kernels.potentials.exponential import EXPONENTIAL
from pn_gpu.kernels.potentials.gaussian import GAUSSIAN
from pn_gpu.kernels.potentials.inverse_multiquadric import INVERSE_MULTIQUADRIC
from pn_gpu.kernels.potentials.lorentzian import LORENTZIAN
from pn_gpu.kernels.potentials.triangle import TRIANGLE
from pn_gpu.kernels.potentials.wendland_c2 import WENDLAND_C2

for _potential in (GAUSSIAN, EXPONENTIAL, LORENTZIAN, INVERSE_MULTIQUADRIC, TRIANGLE, WENDLAND_C2):
    register(_potential)

__all__ = ["Potential", "get", "names", "register"]
