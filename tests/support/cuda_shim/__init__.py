"""The CUDA kernels on a CPU: the .cu files themselves, compiled by g++ against `shim.hpp` and launched by ctypes."""

from support.cuda_shim.build import build
from support.cuda_shim.runtime import ShimRuntime, from_bfloat16, to_bfloat16

__all__ = ["ShimRuntime", "build", "from_bfloat16", "to_bfloat16"]
