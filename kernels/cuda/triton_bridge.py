"""CuPy arrays through the Triton kernels: looked at in place by DLPack, on CuPy's device and stream."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pn_gpu.kernels.room import Array, Direct, OperatorGradient, Particles


def forward(x: Array, particles: Particles, bias: Array | None, how: Direct) -> tuple[Array, None]:
    """`pn_gpu.kernels.triton.forward` for CuPy arrays."""
    with _on_stream_of(x):
        z, _ = _triton_room().forward(_to_torch(x), Particles(*map(_to_torch, particles)), _to_torch(bias), how)
        return _to_cupy(z), None


def backward(
    dz: Array, x: Array, particles: Particles, how: Direct, need_dx: bool = True, need_particles: bool = True
) -> OperatorGradient:
    """`pn_gpu.kernels.triton.backward` for CuPy arrays."""
    with _on_stream_of(x):
        nodes = Particles(*map(_to_torch, particles))
        gradient = _triton_room().backward(_to_torch(dz), _to_torch(x), nodes, how, need_dx, need_particles)
        return OperatorGradient(*(_to_cupy(g) for g in gradient))


def _triton_room() -> Any:
    try:
        return importlib.import_module("pn_gpu.kernels.triton")
    except ImportError as error:
        raise RuntimeError(f"PN_GPU_CUPY_TRITON=1 needs torch and Triton, which cannot be imported: {error}") from error


@contextmanager
def _on_stream_of(x: Array) -> Iterator[None]:
    import cupy

    try:
        import torch
    except ImportError as error:
        raise RuntimeError(f"PN_GPU_CUPY_TRITON=1 needs torch and Triton, which cannot be imported: {error}") from error
    device = x.device.id
    with cupy.cuda.Device(device), torch.cuda.device(device):
        stream = _torch_stream(cupy.cuda.get_current_stream().ptr, device)
        with torch.cuda.stream(stream):
            yield


def _torch_stream(pointer: int, device: int) -> Any:
    """torch's stream of a CUDA handle; for the null stream's handle, 0, ExternalStream would make a new one."""
    import torch

    return torch.cuda.ExternalStream(pointer, device) if pointer else torch.cuda.default_stream(device)


def _to_torch(a: Array | None) -> Any:
    import torch

    return None if a is None else torch.from_dlpack(a)


def _to_cupy(a: Any) -> Array:
    import cupy

    return None if a is None else cupy.from_dlpack(a)
