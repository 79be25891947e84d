"""The plan of a layer through a training run."""

from __future__ import annotations

from typing import Any

from pn_gpu.checks import check_integer
from pn_gpu.kernels import potentials
from pn_gpu.kernels.potentials import Potential
from pn_gpu.planning.calibration import machine_costs
from pn_gpu.planning.costs import NOMINAL, Costs
from pn_gpu.planning.decision import GAIN_TO_START, GAIN_TO_STAY, decide, follow, to_numpy
from pn_gpu.planning.plan import Plan, check_method
from pn_gpu.planning.remainder import Nodes
from pn_gpu.planning.search import approximate

Array = Any

# After so many checks the search is made anew: the particles may have drawn together and need fewer features.
CHECKS_PER_SEARCH = 16
# "direct" is questioned after so many intervals, then ever more rarely: a search in vain may take longer than a step.
SHORTEST_PATIENCE, LONGEST_PATIENCE = 4, 16


class MethodPlanner:
    """Keeps the plan of one layer while its particles move.

    A layer asks for the plan before every forward and uses what it gets for the backward of that forward too,
    so that the gradient is the exact derivative of what was computed. Between checks, which come after 1, 2,
    4, 8 calls and so on up to every ``interval``, that costs microseconds; "direct" is questioned after 4 to
    16 intervals. A check measures the error of the
    expansion in use on all particles, gives newly strayed ones exact weights and takes others back;
    only when the tolerance is no longer kept, or the gain is gone, is another expansion searched. "auto"
    takes the Mehler method when a training step is predicted to be 1.5 times as fast, and gives it up below
    1.2.

    Parameters
    ----------
    method : {"auto", "direct", "mehler"}, default "auto"
    rtol : float, default 1e-3
        As in `plan`.
    potential : str or Potential, default "gaussian"
    interval : int, default 16
        Most calls from one check to the next.
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
        """Forget the plan: call it when the particles are replaced rather than moved."""
        self.current: Plan | None = None
        self._wait = 1
        self._left = 0
        self._checks = 0

    def plan(self, batch: int, r_in: Array, v_in: Array, r_out: Array, v_out: Array) -> Plan:
        """The plan for these particles; they have been checked.

        Parameters
        ----------
        batch : int
            Rows of x.
        r_in, v_in, r_out, v_out : array
            As in `particle_linear`.
        """
        current = self.current
        if current is not None and current.sizes[:2] != (r_in.shape[0], r_out.shape[0]):
            self.reset()
        elif current is not None and self._left > 0:
            self._left -= 1
            return current
        particles = (r_in, v_in, r_out, v_out)
        self.current = self._search(batch, particles) if self.current is None else self._check(batch, particles)
        is_direct = self.current.method == "direct"
        if is_direct:
            self._wait = max(self._wait, self.interval * SHORTEST_PATIENCE)
        self._left = self._wait - 1
        self._wait = min(2 * self._wait, self.interval * (LONGEST_PATIENCE if is_direct else 1))
        return self.current

    def _search(self, batch: int, particles: tuple[Array, Array, Array, Array], gain: float = GAIN_TO_START) -> Plan:
        self._checks = 0
        return decide(*particles, batch, self.potential, self.method, self.rtol, costs=self.costs, gain=gain)

    def _check(self, batch: int, particles: tuple[Array, Array, Array, Array]) -> Plan:
        """The plan in use as it stands for the moved particles, or another."""
        current = self.current
        assert current is not None
        if current.approximation is None:
            return self._search(batch, particles)
        self._checks += 1
        if self._checks >= CHECKS_PER_SEARCH:
            return self._search(batch, particles, GAIN_TO_STAY)
        r_in, v_in, r_out, v_out = (to_numpy(a) for a in particles)
        found = approximate(current.approximation.expansion, Nodes(r_in, v_in), Nodes(r_out, v_out), self.rtol)
        if found is None or not found.estimate <= self.rtol:
            return self._research(batch, particles)
        costs = self.costs or (NOMINAL if self.method == "mehler" else machine_costs(particles[0]))
        moved = follow(current, found, particles[0], batch, costs)
        assert moved.seconds is not None
        assert moved.direct_seconds is not None
        slower = current.seconds is not None and moved.batch == current.batch and moved.seconds > 1.2 * current.seconds
        if slower or (self.method == "auto" and moved.seconds * GAIN_TO_STAY > moved.direct_seconds):
            return self._research(batch, particles)
        return moved

    def _research(self, batch: int, particles: tuple[Array, Array, Array, Array]) -> Plan:
        """A new search for particles on the move: look again soon."""
        self._wait = max(self._wait // 2, 1)
        return self._search(batch, particles, GAIN_TO_STAY)
