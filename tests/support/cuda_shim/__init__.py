"""The CUDA kernels on a CPU: the .cu files as they lie, compiled by g++ against `shim.hpp`, launched by ctypes."""

from support.cuda_shim.build import build, missing
from support.cuda_shim.runtime import RecordingRuntime, ShimRuntime, store, widen

__all__ = ["RecordingRuntime", "ShimRuntime", "build", "missing", "store", "widen"]
