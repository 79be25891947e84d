"""Plans are never stale: whatever becomes of the particles, what is computed keeps its bound."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pn_gpu as pn
from pn_gpu.kernels.room import Particles
from pn_gpu.planning import planner as planner_module
from pn_gpu.planning import recent
from pn_gpu.planning.coverage import Coverage, Profile
from pn_gpu.planning.remainder import Nodes, remainder
from support.clouds import FAVOUR_MEHLER, make_case

RTOL = 1e-2
# What `Plan` documents for a plan in use, in units of rtol.
IN_USE = 2.0


def drawn(rng, shape, scale):
    return scale * rng.standard_normal(shape)


def step(particles, rng):
    """A step of training, at a high rate."""
    return Particles(*(a + 0.02 * np.sign(drawn(rng, a.shape, 1)) for a in particles))


def replaced(particles, rng):
    """Other particles altogether, as from a file."""
    spread = rng.uniform(0.1, 1.2)
    r_in, v_in, r_out, v_out = particles
    return Particles(drawn(rng, r_in.shape, spread), drawn(rng, v_in.shape, 1), drawn(rng, r_out.shape, spread), v_out)


def widened(particles, rng):
    return particles._replace(r_in=particles.r_in * rng.uniform(1, 2))


def drawn_together(particles, rng):
    scale = rng.uniform(0.05, 1)
    return particles._replace(r_in=scale * particles.r_in, r_out=scale * particles.r_out)


def shifted(particles, rng):
    shift = drawn(rng, 2, 3)
    return particles._replace(r_in=particles.r_in + shift, r_out=particles.r_out + shift)


def one_flung_away(particles, rng):
    r_in = particles.r_in.copy()
    r_in[rng.integers(len(r_in))] = drawn(rng, 2, 1) + 2
    return particles._replace(r_in=r_in)


def heavy_at_the_rim(particles, rng):
    """Long dipoles where the expansion is worst."""
    v_in = particles.v_in.copy()
    v_in[np.argsort(-np.linalg.norm(particles.r_in, axis=1))[:20]] *= rng.uniform(1, 30)
    return particles._replace(v_in=v_in)


def apart(particles, rng):
    """W shrinks, its error does not."""
    return particles._replace(r_out=particles.r_out + rng.uniform(0, 2))


def reordered(particles, rng):
    order = rng.permutation(len(particles.r_in))
    return particles._replace(r_in=particles.r_in[order], v_in=particles.v_in[order])


def collapsed(particles, rng):
    """All errors in one direction."""
    return particles._replace(r_in=np.tile(particles.r_in[rng.integers(len(particles.r_in))], (len(particles.r_in), 1)))


CHANGES = [
    step,
    replaced,
    widened,
    drawn_together,
    shifted,
    one_flung_away,
    heavy_at_the_rim,
    apart,
    reordered,
    collapsed,
]


def weight_error(particles, method) -> float:
    w = pn.dense_weight(*particles)
    dw = pn.particle_linear(np.eye(len(w)), *particles, method=method) - w
    return float(np.linalg.norm(dw) / np.linalg.norm(w))


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(1, 4)), min_size=1, max_size=5), st.integers(0, 2**31 - 1)
)
def test_the_bound_holds_after_any_changes(changes, seed) -> None:
    recent.forget()
    rng = np.random.default_rng(seed)
    particles = Particles(*make_case("normal", 2, n_in=240, n_out=220).particles)
    planner = pn.MethodPlanner("mehler", RTOL)
    held = planner.plan(4, *particles)
    for change, times in changes:
        particles = change(particles, rng)
        for _ in range(times):
            particles = step(particles, rng)
            plan = planner.plan(4, *particles)
            assert weight_error(particles, plan.how(planner.potential)) < IN_USE * RTOL
            assert weight_error(particles, held) < IN_USE * RTOL


def test_steps_of_training_keep_the_plan_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    particles = Particles(*make_case("normal", 2).particles)
    plan = pn.plan(*particles, method="mehler")
    small = Particles(*(a + 0.005 * np.sign(drawn(rng, a.shape, 1)) for a in particles))
    assert plan.covers(particles)
    assert plan.covers(small)
    for change in (replaced, shifted, reordered, collapsed):
        assert not plan.covers(change(particles, rng)), change.__name__


@pytest.mark.parametrize("name", Particles._fields)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_covered(name, value) -> None:
    particles = Particles(*make_case("normal", 2, n_in=300, n_out=300).particles)
    plan = pn.plan(*particles, method="mehler", rtol=RTOL)
    bad = getattr(particles, name).copy()
    bad[17, 0] = value
    assert not plan.covers(particles._replace(**{name: bad}))
    single = Particles(*(a.astype(np.float32) for a in particles._replace(**{name: bad})))
    with np.errstate(over="ignore"):
        assert not plan.covers(single)


def test_a_nan_that_arrives_shows_in_z() -> None:
    case = make_case("normal", 2, n_in=800, n_out=700)
    planner = pn.MethodPlanner("auto", costs=FAVOUR_MEHLER)
    assert planner.plan(4, *case.particles).method == "mehler"
    case.v_in[3] = np.nan
    plan = planner.plan(4, *case.particles)
    assert plan.method == "direct"
    assert np.isnan(pn.particle_linear(case.x, *case.particles, method=plan)).any()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_profile_is_an_envelope(dim: int) -> None:
    particles = Particles(*make_case("anisotropic", dim).particles)
    plan = pn.plan(*particles, method="mehler", rtol=RTOL)
    profile = Profile(plan.approximation.expansion)
    nodes = Nodes(2 * particles.r_in, particles.v_in)
    place = ((nodes.r @ profile.frame - profile.centre) ** 2).sum(axis=1)
    e = profile.table[np.minimum(place, len(profile.table) - 1).astype(int)]
    exact = remainder(profile.expansion, nodes).e
    assert np.all(exact < 1.1 * e + 1e-12)
    assert e.sum() < 1.6 * exact.sum()  # so it is of use


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries_see_the_same(library: str) -> None:
    xp = pytest.importorskip(library)
    particles = Particles(*make_case("stray", 2, n_in=600, n_out=500).particles)
    plan = pn.plan(*particles, method="mehler", rtol=RTOL)
    moved = particles._replace(r_in=particles.r_in + 0.01)
    other = Particles(*(xp.asarray(a) for a in moved))
    assert plan.coverage.distance(other) == pytest.approx(plan.coverage.distance(moved), rel=1e-9)
    assert not plan.covers(Particles(*(xp.asarray(a) for a in replaced(particles, np.random.default_rng(0)))))


def test_the_plan_of_moved_particles_takes_its_profile_along(monkeypatch) -> None:
    monkeypatch.setattr(planner_module, "CHECK_SHARE", 1e6)
    particles = Particles(*make_case("normal", 2, n_in=400, n_out=400).particles)
    planner = pn.MethodPlanner("mehler", RTOL, interval=1)
    first = planner.plan(4, *particles)
    second = planner.plan(4, *(a + 1e-3 for a in particles))
    assert second is not first
    assert second.coverage.profile is first.coverage.profile
    fresh = Coverage(second.approximation, particles)
    assert fresh.profile is not first.coverage.profile
    assert dataclasses.replace(second, coverage=None).covers(particles)
