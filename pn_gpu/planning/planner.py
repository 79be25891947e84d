"""The plan of a layer through a training run."""

from __future__ import annotations

import math
from typing import Any

from pn_gpu.checks import check_integer
from pn_gpu.kernels import potentials
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Particles
from pn_gpu.planning.arithmetic import named_arithmetic
from pn_gpu.planning.calibration import machine_costs
from pn_gpu.planning.costs import NOMINAL, Costs
from pn_gpu.planning.decision import GAIN_TO_START, GAIN_TO_STAY, are_finite, decide, follow, to_numpy
from pn_gpu.planning.plan import Plan, check_method
from pn_gpu.planning.remainder import Nodes
from pn_gpu.planning.search import approximate

Array = Any

# After so many checks the search is made anew: the particles may have drawn together and need fewer features.
CHECKS_PER_SEARCH = 16
# "direct" is questioned after so many intervals, then ever more rarely: a search in vain may take longer than a step.
SHORTEST_PATIENCE, LONGEST_PATIENCE = 4, 16
# Rough seconds of a check, and per particle and feature; the share of the time that checks may take, and the most calls
# from one to the next (particles that draw together would need fewer features).
CHECK_SECONDS, CHECK_SECONDS_PER_VALUE, CHECK_SHARE, LONGEST_INTERVAL = 4e-3, 3e-8, 0.05, 256


class MethodPlanner:
    """Keeps the plan of one layer while its particles move.

    A layer asks for the plan before every forward and uses what it gets for the backward of that forward too,
    so that the gradient is the exact derivative of what was computed. Every call tests in O(N + M) whether the plan
    holds for the particles as they are (`Plan.covers`): moved, replaced, restored or not finite, they get another if it
    does not. Checks come then, and after 1, 2, 4, 8 calls and so on up to every ``interval`` or, where a check takes
    long beside a step, more rarely; "direct" is questioned after 4 to 16 intervals. A check measures the error of the
    expansion in use on all particles and chooses anew which it leaves out; only when the tolerance is no longer kept,
    or the gain is gone, is another expansion searched. "auto" takes the Mehler method when a training step is predicted
    to be 1.5 times as fast, its search paid for by the calls until then, and gives it up below 1.2.

    Parameters
    ----------
    method : {"auto", "direct", "mehler"}, default "auto"
    rtol : float, default 1e-3
        As in `plan`.
    potential : str or Potential, default "gaussian"
    interval : int, default 16
        Calls from one check to the next, where checks are cheap beside them.
    costs : Costs, optional
        As in `plan`.

    Examples
    --------
    >>> planner = MethodPlanner(rtol=1e-3)
    >>> plan = planner.plan(len(x), r_in, v_in, r_out, v_out)
    >>> z = particle_linear(x, r_in, v_in, r_out, v_out, bias, method=plan)
    >>> gradient = particle_linear_backward(dz, x, r_in, v_in, r_out, v_out, method=plan)
    """

    def __init__(
        self,
        method: str = "auto",
        rtol: float = 1e-3,
        potential: str | Potential = "gaussian",
        interval: int = 16,
        costs: Costs | None = None,
    ) -> None:
        self.potential = potentials.get(potential)
        check_method(method, rtol, self.potential)
        self.method, self.rtol = method, float(rtol)
        self.interval = check_integer("interval", interval, low=1)
        self.costs = costs
        self.reset()

    def reset(self) -> None:
        """Forget the plan, so that what follows does not depend on what was before."""
        self.current: Plan | None = None
        self._calls = 0
        self._wait = 1
        self._left = 0
        self._checks = 0

    def plan(
        self,
        batch: int,
        r_in: Array,
        v_in: Array,
        r_out: Array,
        v_out: Array,
        dtype: Any = None,
        input_precision: str | None = None,
    ) -> Plan:
        """The plan for these particles; they have been checked.

        Parameters
        ----------
        batch : int
            Rows of x.
        r_in, v_in, r_out, v_out : array
            As in `particle_linear`.
        dtype : optional
            As in `plan`.
        input_precision : {None, "ieee", "tf32", "bf16x3"}, default None
            How a GPU takes products of float32 numbers; None is as torch is set to.
        """
        self._numbers = (dtype, input_precision)
        particles = Particles(r_in, v_in, r_out, v_out)
        if self.current is not None and self.current.sizes != (*_rows(particles), r_in.shape[1], v_in.shape[1]):
            self.reset()
        self._calls += 1
        current = self.current
        if current is not None and self._left > 0 and current.covers(particles):
            self._left -= 1
            return current
        self.current = self._search(batch, particles) if current is None else self._check(batch, particles)
        self._left = self._calls_to_wait(self.current) - 1
        return self.current

    def _calls_to_wait(self, plan: Plan) -> int:
        """From this look to the next one."""
        if plan.pays_after:
            return max(plan.pays_after - self._calls, 1)
        if plan.method == "direct":
            self._wait = max(self._wait, self.interval * SHORTEST_PATIENCE)
            now, self._wait = self._wait, min(2 * self._wait, self.interval * LONGEST_PATIENCE)
            return now
        # Checks are to take a small part of the time.
        values = sum(plan.sizes[:2]) * plan.features
        seconds = CHECK_SECONDS + values * CHECK_SECONDS_PER_VALUE
        rarely = math.ceil(seconds / (CHECK_SHARE * plan.seconds)) if plan.seconds else 1
        now, self._wait = max(self._wait, min(rarely, LONGEST_INTERVAL)), min(2 * self._wait, self.interval)
        return now

    def _search(self, batch: int, particles: Particles, gain: float = GAIN_TO_START) -> Plan:
        self._checks = 0
        how = (self.potential, self.method, self.rtol)
        numbers = named_arithmetic(*self._numbers, particles.r_in)
        return decide(*particles, batch, *how, self.costs, numbers, gain, self._calls)

    def _check(self, batch: int, particles: Particles) -> Plan:
        """The plan in use as it stands for the moved particles, or another."""
        current = self.current
        assert current is not None
        if current.approximation is None or not are_finite(particles):
            return self._search(batch, particles)
        self._checks += 1
        if self._checks >= CHECKS_PER_SEARCH:
            return self._search(batch, particles, GAIN_TO_STAY)
        r_in, v_in, r_out, v_out = (to_numpy(a) for a in particles)
        found = approximate(current.approximation.expansion, Nodes(r_in, v_in), Nodes(r_out, v_out), self.rtol)
        if found is None or not found.estimate <= self.rtol:
            return self._research(batch, particles)
        costs = self.costs or (NOMINAL if self.method == "mehler" else self._machine_costs(particles))
        moved = follow(current, found, particles, batch, costs)
        assert moved.seconds is not None
        assert moved.direct_seconds is not None
        slower = current.seconds is not None and moved.batch == current.batch and moved.seconds > 1.2 * current.seconds
        if slower or (self.method == "auto" and moved.seconds * GAIN_TO_STAY > moved.direct_seconds):
            return self._research(batch, particles)
        return moved

    def _machine_costs(self, particles: Particles) -> Costs:
        return machine_costs(particles.r_in, named_arithmetic(*self._numbers, particles.r_in))

    def _research(self, batch: int, particles: Particles) -> Plan:
        """A new search for particles on the move: look again soon."""
        self._wait = max(self._wait // 2, 1)
        return self._search(batch, particles, GAIN_TO_STAY)


def _rows(particles: Particles) -> tuple[int, int]:
    return particles.r_in.shape[0], particles.r_out.shape[0]
