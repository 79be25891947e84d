"""From particles, tolerance and costs to a plan."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.checks import check_integer
from pn_gpu.dispatch import check_arrays, check_particles
from pn_gpu.kernels import potentials
from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.expansion import Expansion
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Particles
from pn_gpu.planning.arithmetic import Arithmetic, named_arithmetic
from pn_gpu.planning.calibration import machine_costs
from pn_gpu.planning.costs import NOMINAL, Costs
from pn_gpu.planning.coverage import Coverage
from pn_gpu.planning.frame import find_frame, normal_features
from pn_gpu.planning.plan import Plan, check_method
from pn_gpu.planning.remainder import Nodes
from pn_gpu.planning.search import Found, find_approximation
from pn_gpu.workspace import direct_elements, mehler_bytes

Array = Any

# How much faster the Mehler method has to be before "auto" takes it, and before "auto" gives it up again.
GAIN_TO_START, GAIN_TO_STAY = 1.5, 1.2
# A layer of fewer weights takes a millisecond or so by direct: "auto" does not even ask what things cost.
FEWEST_WEIGHTS = 1 << 18
# Rough seconds of a search, whatever its size and per particle and feature: a single call has to earn them too.
SEARCH_SECONDS, SEARCH_SECONDS_PER_VALUE = 4e-2, 1e-8
# A tolerance below this many machine epsilons of the features is beyond them.
FEWEST_EPSILONS = 16


def plan(
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    batch: int = 128,
    potential: str | Potential = "gaussian",
    method: str = "auto",
    rtol: float = 1e-3,
    costs: Costs | None = None,
    dtype: Any = None,
) -> Plan:
    """Decide how a layer of these particles is best computed.

    Parameters
    ----------
    r_in, v_in, r_out, v_out, potential
        As in `particle_linear`.
    batch : int, default 128
        Rows of x.
    method : {"auto", "direct", "mehler"}, default "auto"
        "auto" takes the Mehler method where a training step is predicted to be at least 1.5 times as fast as
        direct. "mehler" takes it wherever its products are fewer than the weights are, N M > d P (N + M), and
        else says in ``reason`` why it fell back to direct.
    rtol : float, default 1e-3
        Tolerance, 0 <= rtol <= 1; 0 means direct.
    costs : Costs, optional
        What the methods cost here; by default measured once on this machine and kept in the user's cache
        directory.
    dtype : optional
        That of x, of any library or by name, where it is not the particles': a GPU's costs depend on it.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the method is "mehler" and the potential is not the Gaussian or a particle is not finite; or an
        argument is out of range.
    TypeError
        If an argument is of the wrong type.
    """
    check_arrays(r_in=r_in, v_in=v_in, r_out=r_out, v_out=v_out)
    check_particles(Particles(r_in, v_in, r_out, v_out))
    batch = check_integer("batch", batch, low=0)
    check_method(method, rtol)
    if costs is not None and not isinstance(costs, Costs):
        raise TypeError(f"costs: got {type(costs).__name__}, want Costs")
    numbers = named_arithmetic(dtype, None, r_in)
    return decide(r_in, v_in, r_out, v_out, batch, potentials.get(potential), method, float(rtol), costs, numbers)


def decide(
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    batch: int,
    potential: Potential,
    method: str,
    rtol: float,
    costs: Costs | None = None,
    arithmetic: Arithmetic | None = None,
    gain: float = GAIN_TO_START,
    calls: float = math.inf,
) -> Plan:
    """The plan of a layer whose arguments are checked.

    ``arithmetic`` says in which numbers a GPU computes it, by default in the particles'. ``gain`` is how much faster
    than direct "auto" wants the Mehler method to be, the time of the search, spread over so many ``calls``, included.
    """
    layer = _Layer(r_in, v_in, r_out, v_out, batch, potential, method, rtol)
    refusal = layer.refusal()
    if refusal:
        return layer.direct(refusal)
    if method == "auto":
        costs = costs or machine_costs(r_in, arithmetic)
    elif costs is None:
        costs = NOMINAL
    num_in, num_out, _, dim = layer.sizes
    direct_seconds = costs.direct(batch, num_in, num_out)
    most = num_in * num_out // (dim * (num_in + num_out))
    if method == "auto":
        most = min(most, _most_features(costs, layer, direct_seconds / gain))
    inputs, outputs = layer.nodes()
    if method == "auto":
        hopeless, pays_after = _hopeless(inputs, outputs, layer, most, costs, direct_seconds, gain, calls)
        if hopeless:
            return replace(layer.direct(hopeless, costs), pays_after=pays_after)

    def cost(features: int, left_out_in: int, left_out_out: int) -> float:
        return costs.mehler(batch, num_in, num_out, dim, features, left_out_in, left_out_out)

    found = find_approximation(inputs, outputs, rtol, most, cost)
    if found is None:
        return layer.direct(f"no expansion of at most {most} features keeps rtol {rtol:g} and pays", costs)
    result = layer.mehler(found, costs)
    assert result.seconds is not None
    if method == "auto" and result.seconds * gain > direct_seconds:
        return layer.direct(f"predicted gain {direct_seconds / result.seconds:.2f} is below {gain:g}", costs)
    return result


def follow(plan: Plan, found: Found, particles: Particles, batch: int, costs: Costs) -> Plan:
    """``plan`` for the same layer with its particles moved: what was ``found`` for its expansion there."""
    num_in, num_out, _, dim = plan.sizes
    profile = None if plan.coverage is None else plan.coverage.profile
    return Plan(
        method="mehler",
        requested=plan.requested,
        reason=plan.reason,
        potential=plan.potential,
        rtol=plan.rtol,
        sizes=plan.sizes,
        batch=batch,
        approximation=found.approximation,
        predicted_error=_normal_error(found.approximation.expansion),
        estimate=found.estimate,
        certificate=found.certificate,
        neuron_bound=found.neuron_bound,
        seconds=costs.mehler(batch, num_in, num_out, dim, *found.approximation.size),
        direct_seconds=costs.direct(batch, num_in, num_out),
        workspace=mehler_bytes(found.approximation, particles.r_in, num_in, num_out, dim, batch),
        itemsize=plan.itemsize,
        coverage=Coverage(found.approximation, particles, profile),
    )


class _Layer:
    """The arguments of a decision."""

    def __init__(
        self,
        r_in: Array,
        v_in: Array,
        r_out: Array,
        v_out: Array,
        batch: int,
        potential: Potential,
        method: str,
        rtol: float,
    ) -> None:
        self.arrays = Particles(r_in, v_in, r_out, v_out)
        self.batch, self.potential, self.method, self.rtol = batch, potential, method, rtol
        self.sizes = (r_in.shape[0], r_out.shape[0], r_in.shape[1], v_in.shape[1])

    def refusal(self) -> str:
        """Why the layer is direct whatever things cost; empty if it need not be."""
        num_in, num_out, _, dim = self.sizes
        if self.method == "direct":
            return "as asked for"
        if self.potential.name != "gaussian":
            check_method(self.method, self.rtol, self.potential)
            return f"the potential {self.potential.name!r} has no fast method"
        if self.rtol == 0:
            return "rtol 0 means direct"
        if num_in * num_out <= (FEWEST_WEIGHTS if self.method == "auto" else dim * (num_in + num_out)):
            return f"{num_in * num_out} weights are too few to gain by approximation"
        dtype = Library(*self.arrays[:2]).dtype
        epsilon = float(compat.array_namespace(self.arrays[0]).finfo(dtype).eps)
        if self.rtol < FEWEST_EPSILONS * epsilon:
            return f"rtol {self.rtol:g} is beyond the rounding of {dtype}"
        for name, a in self.arrays._asdict().items():
            if not _is_finite(a):
                if self.method == "mehler":
                    raise ValueError(f'{name}: got a value that is not finite, want finite particles with "mehler"')
                return f"{name} is not finite"
        return ""

    def nodes(self) -> tuple[Nodes, Nodes]:
        """Both node sets in float64 NumPy arrays."""
        r_in, v_in, r_out, v_out = (to_numpy(a) for a in self.arrays)
        return Nodes(r_in, v_in), Nodes(r_out, v_out)

    def direct(self, reason: str, costs: Costs | None = None) -> Plan:
        """A plan for the direct method."""
        seconds = None if costs in (None, NOMINAL) else costs.direct(self.batch, *self.sizes[:2])
        itemsize = int(compat.array_namespace(self.arrays[0]).finfo(self.arrays[0].dtype).bits) // 8
        return Plan(
            method="direct",
            requested=self.method,
            reason=reason,
            potential=self.potential.name,
            rtol=self.rtol,
            sizes=self.sizes,
            batch=self.batch,
            seconds=seconds,
            direct_seconds=seconds,
            workspace=direct_elements(self.batch, *self.sizes) * itemsize,
            itemsize=itemsize,
        )

    def mehler(self, found: Found, costs: Costs) -> Plan:
        """A plan for the Mehler method."""
        reason = "as asked for"
        if self.method == "auto":
            num_in, num_out, _, dim = self.sizes
            mehler_seconds = costs.mehler(self.batch, num_in, num_out, dim, *found.approximation.size)
            gain = costs.direct(self.batch, num_in, num_out) / mehler_seconds
            reason = f"predicted to be {gain:.1f} times as fast as direct"
        plan = self.direct(reason, costs)
        return follow(plan, found, self.arrays, self.batch, costs)


def to_numpy(a: Array) -> np.ndarray[Any, Any]:
    """``a`` as a float64 NumPy array."""
    if compat.is_torch_array(a):
        a = a.detach().cpu().double()
    elif compat.is_cupy_array(a):
        a = a.get()
    return np.asarray(a).astype(np.float64, copy=False)


def are_finite(particles: Particles) -> bool:
    """Whether no particle holds NaN or infinity."""
    return all(_is_finite(a) for a in particles)


def _is_finite(a: Array) -> bool:
    xp = compat.array_namespace(a)
    return bool(xp.all(xp.isfinite(a)))


def _most_features(costs: Costs, layer: _Layer, seconds: float) -> int:
    """The most features that a training step of ``seconds`` allows."""
    num_in, num_out, _, dim = layer.sizes
    call = costs.mehler(layer.batch, num_in, num_out, dim, 0)
    each = costs.mehler(layer.batch, num_in, num_out, dim, 1) - call
    return max(int((seconds - call) / each), 0) if each > 0 else 1 << 30


def _hopeless(
    inputs: Nodes,
    outputs: Nodes,
    layer: _Layer,
    most: int,
    costs: Costs,
    direct_seconds: float,
    gain: float,
    calls: float,
) -> tuple[str, int]:
    """Why a search is not worth its time, from the spread of the particles alone, and after how many calls it may be.

    Empty and 0 if it may be worth it now; 0 if it never is.
    """
    frame = find_frame(inputs.r[:: max(len(inputs.r) // 256, 1)], outputs.r[:: max(len(outputs.r) // 256, 1)])
    # Half as many features as normally distributed positions take: clouds differ.
    expected = normal_features(frame.rates, layer.rtol, 2 * most)
    if expected is None:
        return f"a spread of {frame.spreads.max():.2g} takes more than {2 * most} features; {most} would pay", 0
    if calls == math.inf:
        return "", 0
    num_in, num_out, _, dim = layer.sizes
    search = SEARCH_SECONDS + (num_in + num_out) * expected * SEARCH_SECONDS_PER_VALUE

    def spared(features: int, gain: float) -> float:
        return direct_seconds / gain - costs.mehler(layer.batch, num_in, num_out, dim, features)

    # A search that may end in direct has to be cheap beside it, or its prospects good.
    per_call = max(spared(expected, 2 * gain), min(spared(expected // 2, gain), 0.1 * direct_seconds))
    if per_call <= 0:
        return f"{expected} features, about as many as are needed, are predicted to gain too little", 0
    needed = math.ceil(search / per_call)
    return ("", 0) if needed <= calls else (f"planning takes {search * 1e3:.0f} ms, which {needed} calls earn", needed)


def _normal_error(expansion: Expansion) -> float:
    """|dW|_F / |W|_F for positions of the normal distribution that the rates stand for."""
    weights = expansion.degrees @ np.log(1 / expansion.rates)
    return math.sqrt(max(1 - float(np.exp(-2 * weights).sum() * np.prod(1 - expansion.rates**2)), 0.0))
