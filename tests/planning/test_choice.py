"""Which method is taken, and what a plan says about it."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn
from support.clouds import FAVOUR_DIRECT, FAVOUR_MEHLER, make_case


def test_auto_goes_by_the_costs() -> None:
    case = make_case("normal", 2)
    taken = pn.plan(*case.particles, costs=FAVOUR_MEHLER)
    assert taken.method == "mehler"
    assert taken.direct_seconds >= 1.5 * taken.seconds
    assert pn.plan(*case.particles, costs=FAVOUR_DIRECT).method == "direct"


def test_small_layers_are_direct_without_asking_the_costs(monkeypatch) -> None:
    monkeypatch.setattr("pn_gpu.planning.decision.machine_costs", lambda like, numbers: pytest.fail("asked"))
    assert pn.plan(*make_case("normal", 2, n_in=300, n_out=10).particles).method == "direct"


def test_the_choice_does_not_depend_on_the_batch_alone() -> None:
    case = make_case("normal", 2)
    costs = pn.Costs(0, 1e-9, 1e-11, 0, 1e-9, 1e-9)
    assert pn.plan(*case.particles, batch=1, costs=costs).method == "mehler"
    assert pn.plan(*case.particles, batch=4096, costs=costs).method == "direct"


@pytest.mark.parametrize("method", ["auto", "mehler"])
def test_rtol_0_is_direct(method: str) -> None:
    plan = pn.plan(*make_case("normal", 2).particles, method=method, rtol=0, costs=FAVOUR_MEHLER)
    assert plan.method == "direct"
    assert "rtol 0" in plan.reason


def test_direct_is_direct() -> None:
    assert pn.plan(*make_case("normal", 2).particles, method="direct", costs=FAVOUR_MEHLER).method == "direct"


def test_a_tolerance_beyond_rounding_is_direct() -> None:
    particles = [a.astype(np.float32) for a in make_case("normal", 2).particles]
    plan = pn.plan(*particles, method="mehler", rtol=1e-7)
    assert plan.method == "direct"
    assert "rounding" in plan.reason


@pytest.mark.parametrize("dim", [6, 20])
def test_too_many_dimensions_are_direct(dim: int) -> None:
    plan = pn.plan(*make_case("normal", dim).particles, method="mehler")
    assert plan.method == "direct"
    assert "features" in plan.reason


def test_no_weights_are_direct() -> None:
    case = make_case("normal", 2)
    particles = (case.r_in, 0 * case.v_in, case.r_out, case.v_out)
    assert pn.plan(*particles, method="mehler").method == "direct"
    empty = [a[:0] for a in case.particles]
    assert pn.plan(*empty, method="mehler").method == "direct"


def test_a_table() -> None:
    case = make_case("stray", 2)
    text = str(pn.plan(*case.particles, costs=FAVOUR_MEHLER))
    for word in (
        "mehler (auto asked for)",
        "times as fast",
        "features P",
        "measured error",
        "certificate",
    ):
        assert word in text
    for word in ("worst neuron", "predicted step", "workspace", "left-out particles", "N=1500, M=1200"):
        assert word in text
    assert "method           direct" in str(pn.plan(*case.particles, method="direct"))
