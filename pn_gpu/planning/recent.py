"""Plans of calls that bring none: found again by the layer's shape and by what the plans cover.

A backward finds the plan of its forward, and the next step of a training loop that of the last. Nothing is searched
before the calls of such a layer have earned the search.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import array_api_compat as compat

from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Particles
from pn_gpu.planning.arithmetic import Arithmetic
from pn_gpu.planning.decision import decide
from pn_gpu.planning.plan import Plan

Array = Any

# Kinds of layers that are remembered, and plans of each: layers of one shape take turns. A plan is small.
MOST_KINDS, MOST_PLANS = 16, 16
# After a search that ended in direct so many calls are direct without asking.
PATIENCE = 64


@dataclass
class _Kind:
    """Layers of one shape, arithmetic, device, batch, potential, method and tolerance."""

    plans: list[Plan] = field(default_factory=list)
    direct: Plan | None = None
    calls: int = 0
    next_search: int = 1

    def nearest(self, particles: Particles) -> Plan | None:
        """The plan that covers the particles, made for those that lie nearest to them."""
        distances = [plan.coverage.distance(particles) for plan in self.plans if plan.coverage is not None]
        if not distances or min(distances) == math.inf:
            return None
        return self.plans[distances.index(min(distances))]


_kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()


def recent_plan(
    particles: Particles,
    batch: int,
    potential: Potential,
    method: str,
    rtol: float,
    arithmetic: Arithmetic | None = None,
    is_backward: bool = False,
) -> Plan:
    """The plan of a call that brings none; a backward is computed as its forward was, and is no call of its own."""
    r_in = particles.r_in
    shapes = tuple(tuple(a.shape) for a in particles)
    key = (shapes, batch, potential, method, rtol, str(r_in.dtype), str(compat.device(r_in)), type(r_in), arithmetic)
    kind = _kinds.setdefault(key, _Kind())
    _kinds.move_to_end(key)
    while len(_kinds) > MOST_KINDS:
        _kinds.popitem(last=False)
    kind.calls += 0 if is_backward and kind.calls else 1
    plan = kind.nearest(particles)
    if plan is not None:
        return plan
    if kind.direct is not None and (is_backward or kind.calls < kind.next_search):
        return kind.direct
    plan = decide(*particles, batch, potential, method, rtol, arithmetic=arithmetic, calls=kind.calls)
    if plan.coverage is None:
        if method == "auto":
            kind.direct, kind.next_search = plan, plan.pays_after or kind.calls + PATIENCE
        return plan
    kind.plans = [plan, *kind.plans[: MOST_PLANS - 1]]
    return plan


def forget() -> None:
    """Plan anew, so that what follows does not depend on the calls before."""
    _kinds.clear()
