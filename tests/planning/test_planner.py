"""How a planner follows moving particles."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.planning import planner as planner_module
from support.clouds import BALANCED, FAVOUR_MEHLER, make_case


@pytest.fixture(autouse=True)
def cheap_checks(monkeypatch):
    """So that checks come at every interval of these small layers."""
    monkeypatch.setattr(planner_module, "CHECK_SHARE", 1e6)


def test_checks_that_take_long_come_rarely(monkeypatch) -> None:
    monkeypatch.setattr(planner_module, "CHECK_SHARE", 0.05)
    case = make_case("normal", 2)
    planner = pn.MethodPlanner("mehler", interval=8)
    plans = [planner.plan(4, *case.particles) for _ in range(60)]
    assert plans[0] is plans[-1]


def test_between_checks_the_plan_is_the_same_object() -> None:
    case = make_case("normal", 2)
    planner = pn.MethodPlanner("mehler", interval=8)
    plans = [planner.plan(4, *case.particles) for _ in range(40)]
    assert all(plan.method == "mehler" for plan in plans)
    changes = [k for k in range(1, 40) if plans[k] is not plans[k - 1]]
    assert changes == [1, 3, 7, 15, 23, 31, 39]
    assert len({id(plan.approximation.expansion) for plan in plans}) == 1


def test_spreading_particles_get_more_features_and_keep_the_tolerance() -> None:
    case = make_case("normal", 2)
    planner = pn.MethodPlanner(costs=BALANCED, interval=1)
    features = []
    for scale in np.linspace(1, 1.5, 16):
        now = case._replace(r_in=scale * case.r_in, r_out=scale * case.r_out)
        plan = planner.plan(4, *now.particles)
        assert plan.method == "mehler"
        assert pn.approximation_error(*now.particles, plan=plan).estimate < 1.2e-3
        features.append(plan.features)
    assert features[-1] > 1.5 * features[0]
    # A slow drift does not make a new expansion at every step.
    assert len(set(features)) < 12


def test_particles_that_draw_together_need_fewer_features_in_time() -> None:
    case = make_case("wide", 2)
    planner = pn.MethodPlanner("mehler", interval=1)
    first = planner.plan(4, *case.particles)
    now = case._replace(r_in=0.3 * case.r_in, r_out=0.3 * case.r_out)
    last = [planner.plan(4, *now.particles) for _ in range(20)][-1]
    assert last.features < first.features / 2


def test_strays_go_the_direct_path_without_a_new_expansion() -> None:
    case = make_case("normal", 2)
    planner = pn.MethodPlanner("mehler", interval=16)
    before = planner.plan(4, *case.particles)
    case.r_in[17] = 1.6
    after = planner.plan(4, *case.particles)
    assert 17 in after.approximation.left_out_in
    assert after.approximation.expansion is before.approximation.expansion


def test_the_choice_has_hysteresis() -> None:
    case = make_case("normal", 2)
    features = pn.plan(*case.particles, costs=FAVOUR_MEHLER).features
    step = pn.Costs(0, 0, 0, 0, 1e-6, 0).mehler(4, 1500, 1200, 2, features)

    def costs(gain: float) -> pn.Costs:
        return pn.Costs(0, gain * step / (1500 * 1200), 0, 0, 1e-6, 0)

    planner = pn.MethodPlanner(costs=costs(1.35), interval=1)
    assert planner.plan(4, *case.particles).method == "direct"
    planner = pn.MethodPlanner(costs=costs(3.0), interval=1)
    assert planner.plan(4, *case.particles).method == "mehler"
    planner.costs = costs(1.35)
    assert planner.plan(4, *case.particles).method == "mehler"
    planner.costs = costs(1.0)
    assert planner.plan(4, *case.particles).method == "direct"


def test_direct_is_seldom_questioned() -> None:
    case = make_case("normal", 2)
    planner = pn.MethodPlanner(costs=pn.Costs(0, 1e-15, 0, 0, 1e-9, 0), interval=2)
    plans = [planner.plan(4, *case.particles) for _ in range(100)]
    assert {plan.method for plan in plans} == {"direct"}
    # 4, 8 and then every 16 intervals of 2 calls.
    assert [k for k in range(1, 100) if plans[k] is not plans[k - 1]] == [8, 24, 56, 88]


def test_reset_and_other_sizes_plan_anew() -> None:
    case, other = make_case("normal", 2), make_case("normal", 2, n_in=1400)
    planner = pn.MethodPlanner(costs=FAVOUR_MEHLER)
    first = planner.plan(4, *case.particles)
    planner.reset()
    assert planner.plan(4, *case.particles) is not first
    assert planner.plan(4, *other.particles).sizes == (1400, 1200, 2, 2)


def test_direct_never_searches(monkeypatch) -> None:
    monkeypatch.setattr("pn_gpu.planning.decision.find_approximation", lambda *a: pytest.fail("searched"))
    case = make_case("normal", 2)
    planner = pn.MethodPlanner("direct")
    assert [planner.plan(4, *case.particles).method for _ in range(5)] == ["direct"] * 5
    planner = pn.MethodPlanner(potential="lorentzian")
    assert planner.plan(4, *case.particles).method == "direct"
