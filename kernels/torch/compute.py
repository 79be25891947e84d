"""One call of the operator on plain tensors, with no derivative: which kernels compute it, and in which dtype.

`pn_gpu.kernels.numpy` and the Mehler room take float32 and float64 tensors of the CPU in place, as NumPy arrays, and
`pn_gpu.kernels.triton` those on CUDA; the Mehler room computes with torch's own operations there.
"""

from __future__ import annotations

import importlib
import math
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from pn_gpu.kernels.foreign import ForeignRoom
from pn_gpu.kernels.host import threads
from pn_gpu.kernels.room import Direct, How, OperatorGradient, Particles, Residuals, Room
from pn_gpu.kernels.sets import SetsRoom

COMPUTED_DTYPES = frozenset((torch.float32, torch.float64))


def forward(
    x: Tensor, particles: Particles, bias: Tensor | None, how: How, keep: bool = False
) -> tuple[Tensor, Residuals | None]:
    """z [..., M] for x [..., N], contiguous, and with ``keep`` what spares `backward` work."""
    room = room_of(x.device, how)
    with own_threads():
        z, residuals = room.forward(as_matrix(x), particles, bias, how, keep)
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
        dbias = as_matrix(dz).sum(dim=0, dtype=_computable(particles.r_out).dtype)
        return OperatorGradient(None, None, None, None, None, dbias.to(particles.r_out.dtype))
    room = room_of(x.device, how)
    with own_threads():
        gradient = room.backward(as_matrix(dz), as_matrix(x), particles, how, need_dx, need_particles, residuals)
    if gradient.dx is None or x.ndim == 2:
        return gradient
    return gradient._replace(dx=gradient.dx.reshape(x.shape))


def forward_sets(
    x: Tensor, particles: Particles, bias: Tensor | None, how: tuple[How, ...], keep: bool = False
) -> tuple[Tensor, Residuals | None]:
    """`forward` of stacked sets: z [S, B, M] for x [S, B, N]."""
    with own_threads():
        return _sets_room(x.device).forward(x, particles, bias, how, keep)


def backward_sets(
    dz: Tensor,
    x: Tensor,
    particles: Particles,
    how: tuple[How, ...],
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: Residuals | None = None,
) -> OperatorGradient:
    """`backward` of stacked sets."""
    if not (need_dx or need_particles):
        dbias = dz.sum(dim=1, dtype=_computable(particles.r_out).dtype)
        return OperatorGradient(None, None, None, None, None, dbias.to(particles.r_out.dtype))
    with own_threads():
        return _sets_room(x.device).backward(dz, x, particles, how, need_dx, need_particles, residuals)


def _sets_room(device: torch.device) -> Room:
    if device.type == "cuda":
        return SetsRoom(lambda how: room_of(device, how), on_host=False)
    return _host_sets_room()


@cache
def _host_sets_room() -> ForeignRoom:
    room = SetsRoom(lambda how: _module("numpy" if isinstance(how, Direct) else "mehler"), on_host=True)
    return ForeignRoom(room, view, _back)


def room_of(device: torch.device, how: How) -> Room:
    """The room whose functions take matrices on ``device``, and particles and a bias of any floating dtype.

    Raises
    ------
    ImportError
        If the kernels are Triton's and it cannot be imported.
    """
    is_direct = isinstance(how, Direct)
    if device.type == "cuda":
        return _triton_room() if is_direct else _widened_mehler_room()
    return _host_room("numpy" if is_direct else "mehler")


def own_threads() -> AbstractContextManager[None]:
    """No more threads than torch has been given, as in the workers of a DataLoader."""
    count = torch.get_num_threads()
    return _ALL_THREADS if count >= threads.most_threads() else threads.at_most(count)


_ALL_THREADS: AbstractContextManager[None] = nullcontext()


class _WidenedRoom:
    """A room for tensors of a GPU that wants particles and a bias of at least 32 bits."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def forward(
        self, x: Tensor, particles: Particles, bias: Tensor | None, how: How, keep: bool = False
    ) -> tuple[Tensor, Residuals | None]:
        """As of `pn_gpu.kernels.room.Room`."""
        wide = Particles(*map(_computable, particles))
        return self._room.forward(x, wide, None if bias is None else _computable(bias), how, keep)

    def backward(
        self,
        dz: Tensor,
        x: Tensor,
        particles: Particles,
        how: How,
        need_dx: bool = True,
        need_particles: bool = True,
        residuals: Residuals | None = None,
    ) -> OperatorGradient:
        """As of `pn_gpu.kernels.room.Room`."""
        wide = Particles(*map(_computable, particles))
        gradient = self._room.backward(dz, x, wide, how, need_dx, need_particles, residuals)
        likes = (x, *particles, particles.r_out)
        each = (None if g is None else g.to(like.dtype).contiguous() for g, like in zip(gradient, likes, strict=True))
        return OperatorGradient(*each)


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"pn_gpu.kernels.{name}")


@cache
def _host_room(name: str) -> ForeignRoom:
    return ForeignRoom(_module(name), view, _back)


@cache
def _triton_room() -> Room:
    try:
        importlib.import_module("triton")
    except ImportError as error:
        raise ImportError(
            "x is on a CUDA device, whose kernels need Triton 3.4 or newer: install it with "
            "pip install 'pn-gpu[torch]' (pip install triton on Linux, triton-windows on Windows), "
            "or move the tensors and modules to the CPU with .to('cpu')"
        ) from error
    return _WidenedRoom(_module("triton"))


@cache
def _widened_mehler_room() -> Room:
    return _WidenedRoom(_module("mehler"))


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
    return np.from_dlpack(_Capsule(_computable(tensor.resolve_neg() if tensor.is_neg() else tensor)))


def _back(result: np.ndarray[Any, Any], like: Tensor) -> Tensor:
    tensor = torch.from_numpy(result if result.flags.c_contiguous else np.ascontiguousarray(result))
    return tensor if tensor.dtype == like.dtype else tensor.to(like.dtype)


def _computable(tensor: Tensor) -> Tensor:
    """A tensor in the dtype it is computed with in: its own, or float32 where it has 16 bits."""
    return tensor if tensor.dtype in COMPUTED_DTYPES else tensor.float()


def as_matrix(x: Tensor) -> Tensor:
    """[..., N] as [B, N]; -1 would be ambiguous for an empty batch."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
