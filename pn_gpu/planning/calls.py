"""How a single call is computed: every weight, by a plan that it brings, or by one that is made for it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

from pn_gpu.dispatch import is_tensor, is_traced, outside_transforms, readable
from pn_gpu.kernels import potentials
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import Array, Direct, How, Particles
from pn_gpu.kernels.sets import select_set
from pn_gpu.kernels.staging import Planned, add_chooser
from pn_gpu.planning.arithmetic import arithmetic_of
from pn_gpu.planning.decision import FEWEST_WEIGHTS
from pn_gpu.planning.plan import Plan, check_method
from pn_gpu.planning.recent import recent_plan


def how_to_compute(
    method: str | Plan | How,
    rtol: float,
    potential: str | Potential,
    x: Array,
    particles: Particles,
    is_backward: bool = False,
) -> How:
    """How to compute the layer, the same for its forward and its backward; a `How` is what its planner chose."""
    if isinstance(method, How):
        return method
    pairwise = potentials.get(potential)
    if isinstance(method, Plan):
        method.check_fits(pairwise, particles.r_in, particles.v_in, particles.r_out)
        plain = readable(particles)
        if plain is None or _covers(method, plain):
            return method.how(pairwise)
        rtol, method = method.rtol, method.requested  # the particles are no longer those it was made for
    check_method(method, rtol)
    if method == "direct" or (method == "auto" and is_never_fast(particles, pairwise)):
        return Direct(pairwise)
    plain = readable(particles)
    if plain is None:
        return computed_whole(Direct(pairwise), particles)
    return _planned(x, plain, pairwise, method, float(rtol), is_backward)


def _covers(plan: Plan, particles: Particles) -> bool:
    with outside_transforms():
        return plan.covers(particles)


def _planned(
    x: Array, particles: Particles, potential: Potential, method: str, rtol: float, is_backward: bool = False
) -> How:
    rows = math.prod(x.shape[:-1])
    with outside_transforms():
        return recent_plan(particles, rows, potential, method, rtol, arithmetic_of(x), is_backward).how(potential)


def how_of_each(
    how_of_one: Callable[..., How | Planned],
    method: str | Plan,
    rtol: float,
    potential: str | Potential,
    x: Array,
    particles: Particles,
) -> tuple[How | Planned, ...]:
    """How to compute each of the sets of x [S, B, N], by `how_to_compute` or `how_when_staged`."""
    if isinstance(method, Plan):
        raise ValueError("method: got a Plan, want a name: a plan is made for one set of particles, here are several")
    check_method(method, rtol)
    pairwise, num_sets = potentials.get(potential), x.shape[0]
    if method == "direct" or (method == "auto" and is_never_fast(particles, pairwise)):
        return (Direct(pairwise),) * num_sets
    sets = [select_set(particles, s) for s in range(num_sets)]
    return tuple(how_of_one(method, rtol, potential, x[s, ...], nodes) for s, nodes in enumerate(sets))


class _SingleCall:
    """Plans calls of graphs that bring no plan."""

    def choose(self, x: Array, particles: Particles, planned: Planned) -> How:
        return _planned(x, particles, potentials.get(planned.potential), planned.method, planned.rtol)


_single_call = _SingleCall()
SINGLE_CALL = add_chooser(_single_call)


def how_when_staged(
    method: str | Plan | How, rtol: float, potential: str | Potential, x: Array, particles: Particles
) -> How | Planned:
    """`how_to_compute`, or where torch.compile traces, a call that is planned when its graph runs."""
    if isinstance(method, Plan | How) or not is_traced(x):
        return how_to_compute(method, rtol, potential, x, particles)
    check_method(method, rtol)
    pairwise = potentials.get(potential)
    if method == "direct" or (method == "auto" and is_never_fast(particles, pairwise)):
        return Direct(pairwise)
    return Planned(SINGLE_CALL, pairwise.name, None, method, float(rtol))


def computed_whole(how: Direct, particles: Particles) -> Direct:
    """``how``, with a warning that a wide layer costs O(N M) where its particles cannot be read for a plan."""
    if not (is_tensor(particles.r_in) and (particles.r_in.is_meta or is_traced(particles.r_in))):
        num_in, num_out = particles.r_in.shape[0], particles.r_out.shape[0]
        warnings.warn(
            f"particle_linear: all {num_in} x {num_out} weights are computed, because the particles cannot be read for"
            ' a plan here; pass a plan made before, or method="direct" to say that this is meant',
            stacklevel=3,
        )
    return how


def is_never_fast(particles: Particles, potential: Potential) -> bool:
    """Whether "auto" means direct, found in a microsecond."""
    return particles.r_in.shape[-2] * particles.r_out.shape[-2] <= FEWEST_WEIGHTS or potential.name != "gaussian"
