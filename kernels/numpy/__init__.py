"""The operator on the CPU: tiles of the weight matrix that live and die in the cache.

``forward(x, r_in, v_in, r_out, v_out, bias, potential)`` and
``backward(dz, x, r_in, v_in, r_out, v_out, potential, need_dx, need_particles)`` take contiguous or strided
two-dimensional NumPy arrays of one floating dtype (float32 or float64); who calls them has checked them.
``forward_with_residuals`` returns z and what ``backward(..., residuals=...)`` need not compute again.
"""

from pn_gpu.kernels.numpy.backward import backward
from pn_gpu.kernels.numpy.forward import forward, forward_with_residuals

__all__ = ["backward", "forward", "forward_with_residuals"]
