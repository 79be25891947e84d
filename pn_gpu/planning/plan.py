"""A plan: the method that computes a layer, why, and what error, time and memory it expects."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pn_gpu.checks import check_choice, check_number
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Direct, How, Mehler, Particles
from pn_gpu.planning.coverage import Coverage

Array = Any

METHODS = ("auto", "direct", "mehler")


@dataclass(frozen=True, eq=False)
class Plan:
    """What was decided for a layer; pass it as ``method=`` to use it as it is. ``print`` shows it as a table.

    Parameters
    ----------
    method : {"direct", "mehler"}
        What the layer is computed by.
    requested : {"auto", "direct", "mehler"}
        What was asked for.
    reason : str
        Why this method.
    potential : str
    rtol : float
        Tolerance of |dW|_F / |W|_F, and with it of z and dx for inputs that do not favour the error. The
        gradients are the exact derivatives of what the forward computes; as approximations of the exact
        layer's, those of dipoles err up to twice as much as z and those of positions 2.5 to 6 times as much, and
        more at n = 1 (see the notes).
    sizes : tuple of int
        N, M, n and d.
    batch : int
        Rows of x that the times are for.
    approximation : Approximation or None
        Expansion and left-out particles; None for "direct".
    predicted_error : float
        |dW|_F / |W|_F if the positions were normally distributed.
    estimate : float
        |dW|_F / |W|_F as measured on sampled weights.
    certificate : float
        What |dW|_F / |W|_F cannot exceed.
    neuron_bound : float
        What the error of no row or column of W can exceed, relative to the root mean square row or column.
    seconds, direct_seconds : float or None
        Predicted for a training step by the method and by "direct"; None where costs were not consulted.
    workspace : int
        Bytes the method needs beside its arguments and results.
    pays_after : int
        Of a direct plan that "auto" made because a search takes longer than it spares: after how many calls it pays;
        else 0.
    coverage : Coverage or None
        What `covers` goes by.

    Notes
    -----
    How far a result is from the exact layer's: where the plan is made, the measured |dW|_F is at most rtol |W|_F; in
    use, until `covers` says no, about twice that. Then |dz| is about as large a part of |z| for an x that has nothing
    to do with the error. Where z is small because its terms cancel, as for a batch that the layer is being fitted to,
    |dz| has been seen to reach 10 rtol |z|; gradients of positions have been seen to err by 9.8 rtol (n = 1).
    """

    method: str
    requested: str
    reason: str
    potential: str
    rtol: float
    sizes: tuple[int, int, int, int]
    batch: int
    approximation: Approximation | None = None
    predicted_error: float = 0.0
    estimate: float = 0.0
    certificate: float = 0.0
    neuron_bound: float = 0.0
    seconds: float | None = None
    direct_seconds: float | None = None
    workspace: int = 0
    itemsize: int = 4
    pays_after: int = 0
    coverage: Coverage | None = field(default=None, repr=False)

    def covers(self, particles: Particles) -> bool:
        """Whether the plan keeps its tolerance for these particles of its layer: a test in O(N + M).

        A direct plan does for all. The plan of an approximation does for particles near those it was made for, whose
        bound of the error is at most 1.3 times what it was; so |dW|_F stays below 2 rtol |W|_F or so in use.
        """
        return self.coverage is None or self.coverage.holds(particles)

    @property
    def features(self) -> int:
        """P, the number of features; 0 for "direct"."""
        return 0 if self.approximation is None else self.approximation.expansion.num_features

    def __str__(self) -> str:
        num_in, num_out, axes, dim = self.sizes
        rows = [
            ("method", f"{self.method} ({self.requested} asked for)"),
            ("why", self.reason),
            ("layer", f"N={num_in}, M={num_out}, n={axes}, d={dim}, batch {self.batch}, {self.potential}"),
            ("rtol", f"{self.rtol:g}"),
        ]
        if self.approximation is not None:
            approximation = self.approximation
            _, *left_out = approximation.size
            rows += [
                ("features P", str(self.features)),
                ("left-out particles", f"{left_out[0]} inputs, {left_out[1]} outputs"),
                ("predicted error", f"{self.predicted_error:.1e} for normally distributed positions"),
                ("measured error", f"{self.estimate:.1e} on sampled weights"),
                ("certificate", f"{self.certificate:.1e} at most"),
                ("worst neuron", f"{self.neuron_bound:.1e} at most"),
            ]
        if self.seconds is not None and self.direct_seconds is not None:
            rows.append(("predicted step", f"{_time(self.seconds)} (direct {_time(self.direct_seconds)})"))
        rows.append(("workspace", f"{_bytes(self.workspace)} (a stored W {_bytes(num_in * num_out * self.itemsize)})"))
        return "\n".join(f"{name:16} {text}" for name, text in rows)

    def how(self, potential: Potential) -> How:
        """The plan as the kernels take it."""
        return Direct(potential) if self.approximation is None else Mehler(self.approximation)

    def check_fits(self, potential: Potential, r_in: Array, v_in: Array, r_out: Array) -> None:
        """Raise a ValueError if the plan was made for a layer of another potential or shape."""
        sizes = (r_in.shape[0], r_out.shape[0], r_in.shape[1], v_in.shape[1])
        if self.sizes != sizes or self.potential != potential.name:
            raise ValueError(
                f"method: got a plan for N, M, n, d = {self.sizes} and {self.potential}, "
                f"want one for {sizes} and {potential.name}"
            )


def check_method(method: str, rtol: float, potential: Potential | None = None) -> None:
    """Raise if ``method`` or ``rtol`` is out of range, or the method cannot compute the potential."""
    check_choice("method", method, METHODS)
    check_number("rtol", rtol, low=0, high=1)
    if method == "mehler" and potential is not None and potential.name != "gaussian":
        raise ValueError(f'method: got "mehler" with the potential {potential.name!r}, want "gaussian" with it')


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def _bytes(count: int) -> str:
    power = min(int(math.log(max(count, 1), 1000)), 4)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
