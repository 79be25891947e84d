"""One call of the operator on plain tensors, with no derivative: which kernels compute it, and in which dtype.

`pn_gpu.kernels.numpy` and the Mehler room take float32 and float64 tensors of the CPU in place, as NumPy arrays, and
`pn_gpu.kernels.triton` those on CUDA; the Mehler room computes with torch's own operations there.
"""

from __future__ import annotations

import importlib
import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from pn_gpu.kernels.foreign import ForeignRoom
from pn_gpu.kernels.host import threads
from pn_gpu.kernels.room import Direct, How, OperatorGradient, Particles, Residuals, Room

COMPUTED_DTYPES = (torch.float32, torch.float64)


def forward(
    x: Tensor, particles: Particles, bias: Tensor | None, how: How, keep: bool = False
) -> tuple[Tensor, Residuals | None]:
    """z [..., M] for x [..., N], contiguous, and with ``keep`` what spares `backward` work."""
    bias = None if bias is None else _computable(bias)
    with threads.at_most(torch.get_num_threads()):
        z, residuals = room_of(x.device, how).forward(_matrix(x), _nodes(particles), bias, how, keep)
    return z if x.ndim == 2 else z.reshape(*x.shape[:-1], z.shape[1]), residuals


def backward(
    dz: Tensor,
    x: Tensor,
    particles: Particles,
    how: How,
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: Residuals | None = None,
) -> OperatorGradient:
    """Gradients for dz [..., M] and x [..., N], contiguous, each in the shape and dtype of what it belongs to."""
    if not (need_dx or need_particles):
        dbias = _matrix(dz).sum(dim=0, dtype=_computable(particles.r_out).dtype)
        return OperatorGradient(None, None, None, None, None, dbias.to(particles.r_out.dtype))
    with threads.at_most(torch.get_num_threads()):
        gradient = room_of(x.device, how).backward(
            _matrix(dz), _matrix(x), _nodes(particles), how, need_dx, need_particles, residuals
        )
    dx, *of_particles, dbias = gradient
    return OperatorGradient(
        None if dx is None else _like(dx, x),
        *(None if g is None else _like(g, p) for g, p in zip(of_particles, particles, strict=True)),
        dbias.to(particles.r_out.dtype),
    )


def room_of(device: torch.device, how: How) -> Room:
    """The room whose functions take matrices on ``device``.

    Raises
    ------
    ImportError
        If the kernels are Triton's and it cannot be imported.
    """
    is_direct = isinstance(how, Direct)
    if device.type == "cuda":
        return _triton_room() if is_direct else _module("mehler")
    return _host_room("numpy" if is_direct else "mehler")


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"pn_gpu.kernels.{name}")


@cache
def _host_room(name: str) -> ForeignRoom:
    return ForeignRoom(_module(name), view, _back)


@cache
def _triton_room() -> Any:
    try:
        importlib.import_module("triton")
    except ImportError as error:
        raise ImportError(
            "x is on a CUDA device, whose kernels need Triton 3.4 or newer: install it with "
            "pip install 'pn-gpu[torch]' (pip install triton on Linux, triton-windows on Windows), "
            "or move the tensors and modules to the CPU with .to('cpu')"
        ) from error
    return _module("triton")


class _Capsule:
    """A tensor as NumPy takes it in; ``Tensor.numpy`` would make its storage one that cannot be resized."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, **options: object) -> Any:
        return to_dlpack(self.tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


def view(tensor: Tensor) -> np.ndarray[Any, Any]:
    """The tensor's own memory as an array that is not to be written to; 16-bit floats come as float32."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    return np.from_dlpack(_Capsule(_computable(tensor.resolve_neg())))


def _back(result: np.ndarray[Any, Any], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(result)).to(like.dtype)


def _computable(tensor: Tensor) -> Tensor:
    """A tensor in the dtype it is computed with in: its own, or float32 where it has 16 bits."""
    return tensor if tensor.dtype in COMPUTED_DTYPES else tensor.float()


def _nodes(particles: Particles) -> Particles:
    return Particles(*map(_computable, particles))


def _matrix(x: Tensor) -> Tensor:
    """[..., N] as [B, N]; -1 would be ambiguous for an empty batch."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _like(gradient: Tensor, tensor: Tensor) -> Tensor:
    """``gradient`` contiguous and in the shape and dtype of ``tensor``; each step is skipped where it is none."""
    if gradient.dtype != tensor.dtype:
        gradient = gradient.to(tensor.dtype)
    if gradient.shape != tensor.shape:
        gradient = gradient.reshape(tensor.shape)
    return gradient if gradient.is_contiguous() else gradient.contiguous()
