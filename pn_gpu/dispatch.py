"""Which room of pn_gpu.kernels serves which arrays."""

from __future__ import annotations

import sys
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.kernels.room import Room

Array = Any


def is_tensor(x: Array) -> bool:
    """Whether ``x`` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_traced(x: Array) -> bool:
    """Whether ``x`` is a torch tensor in a graph that torch.compile is tracing."""
    return is_tensor(x) and sys.modules["torch"].compiler.is_compiling()


def select_room(x: Array) -> Room:
    """The kernels for arrays of the library and device of ``x``."""
    if is_tensor(x):
        from pn_gpu.kernels import torch as torch_room

        return torch_room
    if isinstance(x, np.ndarray):
        from pn_gpu.kernels import numpy as room

        return room
    if compat.is_cupy_array(x):
        from pn_gpu.kernels import cuda

        return cuda
    from pn_gpu.kernels.numpy import bridge

    return bridge


def mehler_room(x: Array) -> Any:
    """The Mehler kernels for arrays of the library and device of ``x``."""
    if is_tensor(x):
        from pn_gpu.kernels.torch import mehler as torch_room

        return torch_room
    if isinstance(x, np.ndarray) or compat.is_cupy_array(x):
        from pn_gpu.kernels import mehler

        return mehler
    from pn_gpu.kernels.mehler import bridge

    return bridge


def check_arrays(**arrays: Array) -> None:
    """Arrays of one library, one device and one floating dtype; ``bias`` may be None.

    On a GPU, and for torch tensors, 16-bit inputs go with particles and a bias in float32 too, as under autocast.

    Raises
    ------
    TypeError
        If one is no array, or of another library or dtype than the first.
    ValueError
        If one is on another device than the first.
    """
    given = {name: a for name, a in arrays.items() if a is not None or name != "bias"}
    first, reference = next(iter(given.items()))
    if _is_plain_numpy(given, getattr(reference, "dtype", None)):
        return
    if is_tensor(reference):
        from pn_gpu.nn.checks import check_tensors

        check_tensors(given)
        return
    for name, a in given.items():
        if not compat.is_array_api_obj(a):
            raise TypeError(f"{name}: got {type(a).__name__}, want an array of NumPy, CuPy or torch")
        if compat.array_namespace(a) is not compat.array_namespace(reference):
            raise TypeError(f"{name}: got {type(a).__name__}, want {type(reference).__name__} like {first}")
        if not compat.array_namespace(a).isdtype(a.dtype, "real floating"):
            raise TypeError(f"{name}: got dtype {a.dtype}, want a real floating dtype")
        if a.dtype != reference.dtype and not _may_be_wider(name, a, reference):
            raise TypeError(f"{name}: got dtype {a.dtype}, want {reference.dtype} like {first}")
        if compat.device(a) != compat.device(reference):
            raise ValueError(f"{name}: got device {compat.device(a)}, want {compat.device(reference)} like {first}")
    if isinstance(reference, np.ndarray) and reference.dtype not in (np.float32, np.float64):
        raise TypeError(f"{first}: got dtype {reference.dtype}, want float32 or float64 on the CPU")


def check_particles(r_in: Array, v_in: Array, r_out: Array, v_out: Array) -> None:
    """Raise a ValueError unless the particles are [N, n], [N, d], [M, n] and [M, d]."""
    for name, a in (("r_in", r_in), ("v_in", v_in), ("r_out", r_out), ("v_out", v_out)):
        if a.ndim != 2 or a.shape[1] < 1:
            raise ValueError(f"{name}: got shape {tuple(a.shape)}, want two dimensions [particles, components >= 1]")
    check_shape("v_in", v_in, (r_in.shape[0], v_in.shape[1]), "[N, d] with the N of r_in")
    check_shape("r_out", r_out, (r_out.shape[0], r_in.shape[1]), "[M, n] with the n of r_in")
    check_shape("v_out", v_out, (r_out.shape[0], v_in.shape[1]), "[M, d] with the M of r_out and the d of v_in")


def check_shape(name: str, a: Array, want: tuple[int, ...], meaning: str) -> None:
    """Raise a ValueError that explains the wanted shape by ``meaning`` unless ``a`` has it."""
    if a.ndim == 0 or tuple(a.shape) != want:
        raise ValueError(f"{name}: got shape {tuple(a.shape)}, want {want}, {meaning}")


def _may_be_wider(name: str, a: Array, inputs: Array) -> bool:
    """Whether the CuPy kernels take ``a`` in float32 beside 16-bit inputs."""
    return name not in ("x", "dz") and compat.is_cupy_array(a) and a.dtype == np.float32 and inputs.dtype.itemsize == 2


def _is_plain_numpy(given: dict[str, Array], dtype: Any) -> bool:
    """The ordinary case, found in a microsecond: NumPy arrays of one dtype that the kernels have."""
    return all(type(a) is np.ndarray and a.dtype == dtype for a in given.values()) and dtype in (np.float32, np.float64)
