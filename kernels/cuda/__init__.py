"""The operator on CuPy arrays: CUDA C++ kernels that NVRTC compiles where they run.

``forward`` and ``backward`` are those of every room of `pn_gpu.kernels.room`, for CuPy arrays of any strides on one
device; x, z and dz are float16, bfloat16, float32 or float64. They take stacked sets, too (`pn_gpu.kernels.sets`), and
launch each kernel once for all. They launch on the array's device and its current stream and never wait for it.
Particles are summed in float32 (float64 for float64 arrays), and float32 products are plain fused multiply-adds, never
TF32.

Where to read on: ``forward.cu`` and ``backward.cu`` for the mathematics, ``tiles.py`` for the grids, ``launch.py`` for
the order of launches, ``source.py`` for what the compiler gets, ``cupy_runtime.py`` for all that touches CuPy.

Set the environment variable ``PN_GPU_CUPY_TRITON=1`` to send CuPy arrays through DLPack to the kernels of
`pn_gpu.kernels.triton` instead, where torch and Triton are installed. It is off by default.
"""

from __future__ import annotations

import os

from pn_gpu.kernels.cuda import launch
from pn_gpu.kernels.cuda.cupy_runtime import check_available, runtime_for
from pn_gpu.kernels.room import Array, Direct, OperatorGradient, Particles

__all__ = ["backward", "check_available", "forward"]


def forward(x: Array, particles: Particles, bias: Array | None, how: Direct, keep: bool = False) -> tuple[Array, None]:
    """z [B, M] for x [B, N] and bias [M] or None, of the dtype of x, and nothing for the backward.

    Particles and bias have the dtype of x or float32.

    Raises
    ------
    TypeError
        If the dtype is none of the four, or this device has no such arithmetic.
    ValueError
        If arrays lie on different devices, or the potential has no CUDA expressions or they do not compile.
    """
    if _use_triton():
        from pn_gpu.kernels.cuda import triton_bridge

        return triton_bridge.forward(x, particles, bias, how)
    with runtime_for(x=x, **particles._asdict(), bias=bias) as runtime:
        return launch.forward(runtime, x, *particles, bias, how.potential), None


def backward(
    dz: Array,
    x: Array,
    particles: Particles,
    how: Direct,
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: None = None,
) -> OperatorGradient:
    """Gradients for dz [B, M] and x [B, N], with the particles of `forward`; raises what `forward` raises."""
    if _use_triton():
        from pn_gpu.kernels.cuda import triton_bridge

        return triton_bridge.backward(dz, x, particles, how, need_dx, need_particles)
    with runtime_for(dz=dz, x=x, **particles._asdict()) as runtime:
        return launch.backward(runtime, dz, x, *particles, how.potential, need_dx, need_particles)


def _use_triton() -> bool:
    setting = os.environ.get("PN_GPU_CUPY_TRITON", "0")
    if setting not in ("0", "1"):
        raise ValueError(f"PN_GPU_CUPY_TRITON: got {setting!r}, want 0 or 1")
    return setting == "1"
