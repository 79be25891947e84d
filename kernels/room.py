"""One call of the operator as a value, and what every room of kernels offers: one way to compute it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pn_gpu.kernels.potentials import Potential

if TYPE_CHECKING:
    from pn_gpu.kernels.mehler.expansion import Approximation

Array = Any
Residuals = Any

# How a GPU may take products of float32 inputs.
PRECISIONS = ("ieee", "tf32", "bf16x3")


class Particles(NamedTuple):
    """Both node sets of a layer: positions and dipoles of the input and of the output particles."""

    r_in: Array  # [N, n]
    v_in: Array  # [N, d]
    r_out: Array  # [M, n]
    v_out: Array  # [M, d]

    def exchanged(self) -> Particles:
        """The layer the other way round, whose weights are W^T."""
        return Particles(self.r_out, self.v_out, self.r_in, self.v_in)


@dataclass(frozen=True)
class Direct:
    """Every weight, exact to the dtype.

    Parameters
    ----------
    potential : Potential
    precision : {None, "ieee", "tf32", "bf16x3"}, default None
        How a GPU takes products of float32 inputs; a CPU computes every digit.
    """

    potential: Potential
    precision: str | None = None


@dataclass(frozen=True)
class Mehler:
    """The Gaussian through an expansion (`pn_gpu.kernels.mehler`)."""

    approximation: Approximation


How = Direct | Mehler


class OperatorGradient(NamedTuple):
    """Gradients of the loss with respect to the arguments of the operator.

    ``dx`` is None when it was not asked for; the four particle gradients are None when they were not.
    """

    dx: Array | None
    dr_in: Array | None
    dv_in: Array | None
    dr_out: Array | None
    dv_out: Array | None
    dbias: Array


class Room(Protocol):
    """The two functions of a room; their arguments have been checked, x and dz are matrices.

    Where all arrays have sets before that, it is `pn_gpu.kernels.sets` that knows which rooms take them.
    """

    def forward(
        self, x: Array, particles: Particles, bias: Array | None, how: Any, keep: bool = False
    ) -> tuple[Array, Residuals | None]:
        """z [B, M] for x [B, N], and with ``keep`` what `backward` need not find out again (None if there is none)."""

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
        """Gradients of all arguments, for dz [B, M], x [B, N] and what `forward` left, if it left anything."""
