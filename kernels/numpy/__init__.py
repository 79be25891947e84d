"""The operator on the CPU: tiles of the weight matrix that live and die in the cache.

A room of `pn_gpu.kernels.room` for contiguous or strided NumPy arrays of one floating dtype, float32 or float64; who
calls it has checked them.
"""

from pn_gpu.kernels.numpy.backward import backward
from pn_gpu.kernels.numpy.forward import forward

__all__ = ["backward", "forward"]
