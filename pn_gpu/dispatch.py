"""Which room of pn_gpu.kernels serves which arrays."""

from __future__ import annotations

from typing import Any, Protocol

import array_api_compat as compat
import numpy as np

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.potentials import Potential

Array = Any


class Room(Protocol):
    """One way to compute the operator; all arguments are checked, x and dz are matrices."""

    def forward(
        self, x: Array, r_in: Array, v_in: Array, r_out: Array, v_out: Array, bias: Array | None, potential: Potential
    ) -> Array:
        """z [B, M]."""

    def backward(
        self,
        dz: Array,
        x: Array,
        r_in: Array,
        v_in: Array,
        r_out: Array,
        v_out: Array,
        potential: Potential,
        need_dx: bool,
        need_particles: bool,
    ) -> OperatorGradient:
        """Gradients of all arguments."""


def select_room(x: Array) -> Room:
    """The kernels for arrays of the library and device of ``x``."""
    if isinstance(x, np.ndarray):
        from pn_gpu.kernels import numpy as room

        return room
    if compat.is_cupy_array(x):
        from pn_gpu.kernels import cuda

        return cuda
    if compat.is_torch_array(x) and x.device.type != "cpu":
        raise TypeError(f"x: got a torch tensor on {x.device}, but this version has kernels for the CPU only")
    from pn_gpu.kernels.numpy import bridge

    return bridge


def check_arrays(**arrays: Array) -> None:
    """Arrays of one library, one device and one floating dtype; a None is passed over.

    Raises
    ------
    TypeError
        If one is no array, or of another library or dtype than the first.
    ValueError
        If one is on another device than the first.
    """
    given = {name: a for name, a in arrays.items() if a is not None}
    first, reference = next(iter(given.items()))
    for name, a in given.items():
        if not compat.is_array_api_obj(a):
            raise TypeError(f"{name}: got {type(a).__name__}, want an array of NumPy, CuPy or torch")
        if compat.array_namespace(a) is not compat.array_namespace(reference):
            raise TypeError(f"{name}: got {type(a).__name__}, want {type(reference).__name__} like {first}")
        if not compat.array_namespace(a).isdtype(a.dtype, "real floating"):
            raise TypeError(f"{name}: got dtype {a.dtype}, want a real floating dtype")
        if a.dtype != reference.dtype:
            raise TypeError(f"{name}: got dtype {a.dtype}, want {reference.dtype} like {first}")
        if compat.device(a) != compat.device(reference):
            raise ValueError(f"{name}: got device {compat.device(a)}, want {compat.device(reference)} like {first}")
    if isinstance(reference, np.ndarray) and reference.dtype not in (np.float32, np.float64):
        raise TypeError(f"{first}: got dtype {reference.dtype}, want float32 or float64 on the CPU")
