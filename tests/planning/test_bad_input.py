"""What plans, planners and calls refuse."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn
from support.clouds import FAVOUR_MEHLER, make_case


@pytest.mark.parametrize("rtol", [-1e-3, 1.5, float("nan"), float("inf")])
def test_rtol_out_of_range(rtol: float) -> None:
    case = make_case("normal", 2, n_in=5, n_out=4)
    with pytest.raises(ValueError, match="rtol"):
        pn.plan(*case.particles, rtol=rtol)
    with pytest.raises(ValueError, match="rtol"):
        pn.particle_linear(case.x, *case.particles, method="mehler", rtol=rtol)
    with pytest.raises(ValueError, match="rtol"):
        pn.MethodPlanner(rtol=rtol)


@pytest.mark.parametrize("name", ["r_in", "v_in", "r_out", "v_out"])
def test_particles_that_are_not_finite(name: str) -> None:
    case = make_case("normal", 2)
    getattr(case, name)[3, 1] = np.inf
    with pytest.raises(ValueError, match=f"{name}: got a value that is not finite"):
        pn.plan(*case.particles, method="mehler")
    plan = pn.plan(*case.particles, costs=FAVOUR_MEHLER)
    assert plan.method == "direct"
    assert name in plan.reason


def test_other_potentials() -> None:
    case = make_case("normal", 2)
    with pytest.raises(ValueError, match="lorentzian"):
        pn.particle_linear(case.x, *case.particles, potential="lorentzian", method="mehler")
    plan = pn.plan(*case.particles, potential="lorentzian", costs=FAVOUR_MEHLER)
    assert plan.method == "direct"


def test_a_plan_for_another_layer() -> None:
    case, other = make_case("normal", 2), make_case("normal", 2, n_out=1100)
    plan = pn.plan(*case.particles, method="mehler")
    with pytest.raises(ValueError, match=r"method: got a plan for N, M, n, d = \(1500, 1200, 2, 2\)"):
        pn.particle_linear(other.x, *other.particles, method=plan)
    with pytest.raises(ValueError, match="plan for"):
        pn.approximation_error(*other.particles, plan=plan)
    with pytest.raises(ValueError, match="plan for"):
        pn.particle_linear(case.x, *case.particles, potential="triangle", method=plan)


def test_wrong_types() -> None:
    case = make_case("normal", 2, n_in=5, n_out=4)
    with pytest.raises(ValueError, match="method"):
        pn.plan(*case.particles, method="fast")
    with pytest.raises(TypeError, match="batch"):
        pn.plan(*case.particles, batch=1.5)
    with pytest.raises(TypeError, match="costs"):
        pn.plan(*case.particles, costs={})
    with pytest.raises(TypeError, match="plan"):
        pn.approximation_error(*case.particles, plan="mehler")
    with pytest.raises(ValueError, match="samples"):
        pn.approximation_error(*case.particles, samples=0)
    with pytest.raises(ValueError, match="interval"):
        pn.MethodPlanner(interval=0)
