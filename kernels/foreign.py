"""NumPy's rooms for CPU arrays of other libraries, which are looked at in place and never copied.

16-bit floats, which NumPy's kernels do not compute in, are cast to the particles' dtype and the results cast back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.room import Array, OperatorGradient, Particles, Residuals, Room

NumpyArray = np.ndarray[Any, np.dtype[Any]]


class _Kept(NamedTuple):
    """What a forward leaves to its backward: what it looked at, and the residuals of NumPy's room."""

    x: NumpyArray
    particles: Particles
    residuals: Residuals


class ForeignRoom:
    """A room for the arrays of another library.

    Parameters
    ----------
    room : Room
        Computes with NumPy arrays.
    view : callable
        ``view(a)``: the memory of an array as a NumPy array.
    back : callable
        ``back(result, like)``: a NumPy array as one of the library of ``like``, in its dtype.
    """

    def __init__(
        self, room: Room, view: Callable[[Array], NumpyArray], back: Callable[[NumpyArray, Array], Array]
    ) -> None:
        self._room, self._view, self._back = room, view, back

    def forward(
        self, x: Array, particles: Particles, bias: Array | None, how: Any, keep: bool = False
    ) -> tuple[Array, Residuals | None]:
        """As of `pn_gpu.kernels.room.Room`; the residuals stay NumPy's."""
        nodes = Particles(*map(self._view, particles))
        x_view = _cast(self._view(x), nodes.r_in.dtype)
        z, residuals = self._room.forward(x_view, nodes, None if bias is None else self._view(bias), how, keep)
        return self._back(z, x), _Kept(x_view, nodes, residuals) if keep else None

    def backward(
        self,
        dz: Array,
        x: Array,
        particles: Particles,
        how: Any,
        need_dx: bool = True,
        need_particles: bool = True,
        residuals: Residuals | None = None,
    ) -> OperatorGradient:
        """As of `pn_gpu.kernels.room.Room`; dx has the dtype of x, all others that of the particles."""
        if residuals is None:
            nodes = Particles(*map(self._view, particles))
            residuals = _Kept(_cast(self._view(x), nodes.r_in.dtype), nodes, None)
        x_view, nodes, of_room = residuals
        dz_view, back = _cast(self._view(dz), x_view.dtype), self._back
        gradient = self._room.backward(dz_view, x_view, nodes, how, need_dx, need_particles, of_room)
        likes = (x, *particles, particles.r_out)
        return OperatorGradient._make(
            None if g is None else back(g, like) for g, like in zip(gradient, likes, strict=True)
        )


def _cast(a: NumpyArray, dtype: np.dtype[Any]) -> NumpyArray:
    return a if a.dtype == dtype else a.astype(dtype)


def standard_room(room: Room) -> ForeignRoom:
    """``room`` for arrays of any CPU library of the array API standard."""
    return ForeignRoom(room, np.asarray, lambda result, like: namespace_of(like).asarray(result))
