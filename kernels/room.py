"""What every room of kernels offers: one way to compute the operator."""

from __future__ import annotations

from typing import Any, Protocol

from pn_gpu.kernels.gradient import OperatorGradient
from pn_gpu.kernels.potentials import Potential

Array = Any


class Room(Protocol):
    """The two functions of a room; their arguments have been checked, x and dz are matrices.

    A room whose forward finds out what its backward needs too has a third, ``forward_with_residuals``: it returns z and
    what ``backward`` takes as ``residuals``.
    """

    def forward(
        self,
        x: Array,
        r_in: Array,
        v_in: Array,
        r_out: Array,
        v_out: Array,
        bias: Array | None,
        potential: Potential,
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
