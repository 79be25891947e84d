"""Which room of pn_gpu.kernels serves which arrays."""

from __future__ import annotations

import importlib
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.kernels.foreign import standard_room
from pn_gpu.kernels.room import Array, Direct, How, Particles, Room
from pn_gpu.kernels.sets import SetsRoom
from pn_gpu.kernels.staging import Planned


def is_tensor(x: Array) -> bool:
    """Whether ``x`` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_traced(x: Array) -> bool:
    """Whether ``x`` is a torch tensor in a graph that torch.compile is tracing."""
    return is_tensor(x) and sys.modules["torch"].compiler.is_compiling()


def is_captured(x: Array) -> bool:
    """Whether what is computed from ``x`` goes into a CUDA graph that torch captures."""
    return is_tensor(x) and x.is_cuda and bool(sys.modules["torch"].cuda.is_current_stream_capturing())


def readable(particles: Particles) -> Particles | None:
    """The particles as a plan may read them now; None where it may not.

    It may not read torch tensors without memory (meta, fake) or that vmap has batched, nor inside a graph that is
    traced or captured. Tensors that torch.func differentiates are read as the values that they stand for.
    """
    if not is_tensor(particles.r_in):
        return particles
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return None
    plain = [_value(p, torch) for p in particles]
    if not all(type(p) in (torch.Tensor, torch.nn.Parameter) and not p.is_meta for p in plain):
        return None
    if is_captured(plain[0]):
        return None
    with outside_transforms():
        return Particles(*(p.detach() for p in plain))


def outside_transforms() -> AbstractContextManager[Any]:
    """Within the block torch computes with plain tensors even where torch.func transforms what is around it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch._C._are_functorch_transforms_active():
        return nullcontext()
    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

    return temporarily_clear_interpreter_stack()


def _value(tensor: Array, torch: Any) -> Array:
    """What a tensor inside the gradients of torch.func stands for; None if there is no one value."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if not functorch.is_gradtrackingtensor(tensor):
            return None
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def room_of(x: Array, how: How | Planned | tuple[How, ...]) -> Room:
    """The kernels that compute a call ``how`` it is wanted, for arrays of the library and device of ``x``.

    For a tuple they take stacked sets, one for each entry.
    """
    if is_tensor(x):
        from pn_gpu.kernels import torch as room  # a statement that torch.compile can trace

        return room
    if isinstance(how, tuple):
        return _sets_room(_library_of(x))
    is_direct = isinstance(how, Direct)
    if isinstance(x, np.ndarray):
        return _module("numpy" if is_direct else "mehler")
    if compat.is_cupy_array(x):
        return _module("cuda" if is_direct else "mehler")
    return _foreign_room("numpy" if is_direct else "mehler")


def _library_of(x: Array) -> str:
    if isinstance(x, np.ndarray):
        return "numpy"
    return "cupy" if compat.is_cupy_array(x) else "foreign"


@cache
def _sets_room(library: str) -> Room:
    if library == "cupy":
        return SetsRoom(lambda how: _module("cuda" if isinstance(how, Direct) else "mehler"), on_host=False)
    room = SetsRoom(lambda how: _module("numpy" if isinstance(how, Direct) else "mehler"), on_host=True)
    return room if library == "numpy" else standard_room(room)


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"pn_gpu.kernels.{name}")


@cache
def _foreign_room(name: str) -> Room:
    return standard_room(_module(name))


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
        from pn_gpu.kernels.torch.checks import check_tensors

        check_tensors(given)
        return
    for name, a in given.items():
        if not compat.is_array_api_obj(a):
            raise TypeError(f"{name}: got {type(a).__name__}, want an array of NumPy, CuPy or torch")
        if compat.array_namespace(a) is not compat.array_namespace(reference):
            raise TypeError(f"{name}: got {type(a).__name__}, want {type(reference).__name__} like {first}")
        if not _is_real_floating(a):
            raise TypeError(f"{name}: got dtype {a.dtype}, want a real floating dtype")
        if a.dtype != reference.dtype and not _may_be_wider(name, a, reference):
            raise TypeError(f"{name}: got dtype {a.dtype}, want {reference.dtype} like {first}")
        if compat.device(a) != compat.device(reference):
            raise ValueError(f"{name}: got device {compat.device(a)}, want {compat.device(reference)} like {first}")
    if isinstance(reference, np.ndarray) and reference.dtype not in (np.float32, np.float64):
        raise TypeError(f"{first}: got dtype {reference.dtype}, want float32 or float64 on the CPU")


def check_particles(particles: Particles, sets_allowed: bool = False) -> None:
    """Raise a ValueError unless the particles are [N, n], [N, d], [M, n] and [M, d], where allowed after sets."""
    r_in, v_in, r_out, v_out = particles
    for name, a in zip(Particles._fields, particles, strict=True):
        if a.ndim < 2 or (a.ndim > 2 and not sets_allowed) or a.shape[-1] < 1:
            or_more = ", or more with those of the sets before them" if sets_allowed else ""
            raise ValueError(
                f"{name}: got shape {tuple(a.shape)}, want two dimensions [particles, components >= 1]{or_more}"
            )
    sets = tuple(r_in.shape[:-2])
    check_shape("v_in", v_in, (*sets, r_in.shape[-2], v_in.shape[-1]), "[N, d] with the N and the sets of r_in")
    check_shape("r_out", r_out, (*sets, r_out.shape[-2], r_in.shape[-1]), "[M, n] with the n and the sets of r_in")
    want = (*sets, r_out.shape[-2], v_in.shape[-1])
    check_shape("v_out", v_out, want, "[M, d] with the M of r_out, the d of v_in and the sets of r_in")


def check_shape(name: str, a: Array, want: tuple[int, ...], meaning: str) -> None:
    """Raise a ValueError that explains the wanted shape by ``meaning`` unless ``a`` has it."""
    if a.ndim == 0 or tuple(a.shape) != want:
        raise ValueError(f"{name}: got shape {tuple(a.shape)}, want {want}, {meaning}")


def _is_real_floating(a: Array) -> bool:
    """Whether the dtype is one of real numbers; bfloat16 comes from ml_dtypes, and no array library counts it in."""
    return str(a.dtype) == "bfloat16" or compat.array_namespace(a).isdtype(a.dtype, "real floating")


def _may_be_wider(name: str, a: Array, inputs: Array) -> bool:
    """Whether the CuPy kernels take ``a`` in float32 beside 16-bit inputs."""
    return name not in ("x", "dz") and compat.is_cupy_array(a) and a.dtype == np.float32 and inputs.dtype.itemsize == 2


def _is_plain_numpy(given: dict[str, Array], dtype: Any) -> bool:
    """The ordinary case, found in a microsecond: NumPy arrays of one dtype that the kernels have."""
    return all(type(a) is np.ndarray and a.dtype == dtype for a in given.values()) and dtype in (np.float32, np.float64)
