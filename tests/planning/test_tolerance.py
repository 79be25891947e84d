"""What a plan computes keeps its tolerance: the weights, z and the gradients, in every library."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.planning import decision, recent, search
from support import oracle
from support.clouds import KINDS, make_case


@pytest.mark.parametrize("rtol", [1e-1, 1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tolerance_is_kept(kind: str, rtol: float) -> None:
    case = make_case(kind, 2)
    plan = pn.plan(*case.particles, method="mehler", rtol=rtol)
    assert plan.method == "mehler"
    w = oracle.weight(case)
    dw = pn.particle_linear(np.eye(len(case.r_in)), *case.particles, method=plan) - w
    norm = np.linalg.norm(w)
    # The estimate that the plan keeps under rtol is within a factor of 1.5 of the truth.
    assert np.linalg.norm(dw) / norm < 1.2 * rtol
    assert 1 / 1.5 < plan.estimate / (np.linalg.norm(dw) / norm) < 1.5 or plan.estimate < 1e-12
    assert np.linalg.norm(dw) / norm < 1.05 * plan.certificate + 1e-13
    assert np.linalg.norm(dw, axis=0).max() * np.sqrt(len(case.r_out)) / norm < 1.05 * plan.neuron_bound + 1e-13
    assert np.linalg.norm(dw, axis=1).max() * np.sqrt(len(case.r_in)) / norm < 1.05 * plan.neuron_bound + 1e-13
    assert plan.neuron_bound <= 1.05 * search.NEURON_FACTOR * rtol


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("kind", ["normal", "stray"])
def test_z_and_the_gradients_keep_it_too(dim: int, kind: str) -> None:
    case = make_case(kind, dim, b=8)
    plan = pn.plan(*case.particles, method="mehler", rtol=1e-3)
    assert plan.method == "mehler"
    z = pn.particle_linear(case.x, *case.particles, case.bias * 0, method=plan)
    want = oracle.forward(case) - case.bias
    assert np.linalg.norm(z - want) < 1.5e-3 * np.linalg.norm(want)
    gradient = pn.particle_linear_backward(case.dz, case.x, *case.particles, method=plan)
    exact = oracle.backward(case)
    for name in gradient._fields:
        factor = {"dr": 6, "dv": 2}.get(name[:2], 1.5)
        error = np.linalg.norm(getattr(gradient, name) - getattr(exact, name))
        assert error < factor * 1e-3 * np.linalg.norm(getattr(exact, name)), name


def test_auto_takes_it_in_a_call_of_the_operator() -> None:
    # A single call has to earn its search too: with these costs a layer of 3000 x 2500 does.
    case = make_case("normal", 2, b=8, n_in=3000, n_out=2500)
    w = oracle.weight(case)
    z = pn.particle_linear(case.x, *case.particles, rtol=1e-2)
    error = np.linalg.norm(z - case.x @ w) / np.linalg.norm(case.x @ w)
    assert 1e-5 < error < 1.5e-2  # by the method, and within its tolerance: direct errs by 1e-15
    gradient = pn.particle_linear_backward(case.dz, case.x, *case.particles, rtol=1e-2)
    error = np.linalg.norm(gradient.dx - case.dz @ w.T) / np.linalg.norm(case.dz @ w.T)
    assert 1e-5 < error < 1.5e-2


def test_forward_and_backward_by_name_are_one_function() -> None:
    case = make_case("stray", 2, b=3, n_in=300, n_out=300)
    options = {"method": "mehler", "rtol": 0.05}
    gradient = pn.particle_linear_backward(case.dz, case.x, *case.particles, **options)
    plan = pn.plan(*case.particles, batch=3, **options)
    held = pn.particle_linear_backward(case.dz, case.x, *case.particles, method=plan)
    assert plan.method == "mehler"
    for a, b in zip(gradient, held, strict=True):
        np.testing.assert_array_equal(a, b)
    z = pn.particle_linear(case.x, *case.particles, case.bias, **options)
    np.testing.assert_array_equal(z, pn.particle_linear(case.x, *case.particles, case.bias, method=plan))


def test_a_backward_and_small_steps_reuse_the_plan(monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(recent, "decide", lambda *a, **k: calls.append(a) or decision.decide(*a, **k))
    case = make_case("normal", 2, n_in=400, n_out=410)
    for scale in (1.0, 1.0, 1.01, 2.0):
        particles = (scale * case.r_in, *case.particles[1:])
        pn.particle_linear(case.x, *particles, method="mehler", rtol=0.03)
        pn.particle_linear_backward(case.dz, case.x, *particles, method="mehler", rtol=0.03)
    assert len(calls) == 2


def test_layers_of_one_shape_keep_a_plan_each(monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(recent, "decide", lambda *a, **k: calls.append(a) or decision.decide(*a, **k))
    cases = [make_case("normal", 2, n_in=500, n_out=410, seed=seed) for seed in (1, 2)]
    for _ in range(2):
        for case in cases:
            pn.particle_linear(case.x, *case.particles, method="mehler", rtol=0.02)
    assert len(calls) == 2


def test_auto_is_direct_until_planning_pays(monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(recent, "decide", lambda *a, **k: calls.append(k["calls"]) or decision.decide(*a, **k))
    case = make_case("normal", 2, n_in=900, n_out=800)  # a direct step of 15 ms, by the costs of these tests
    w, methods = oracle.weight(case), []
    for _ in range(12):
        z = pn.particle_linear(case.x, *case.particles, rtol=1e-2)
        methods.append(np.linalg.norm(z - case.x @ w) > 1e-6 * np.linalg.norm(z))
        gradient = pn.particle_linear_backward(case.dz, case.x, *case.particles, rtol=1e-2)
        assert (np.linalg.norm(gradient.dx - case.dz @ w.T) > 1e-6 * np.linalg.norm(gradient.dx)) == methods[-1]
    assert methods == sorted(methods)
    assert (methods[0], methods[-1]) == (False, True)
    assert len(calls) == 2


def test_dipoles_may_have_other_dimensions_than_positions() -> None:
    rng = np.random.default_rng(13)
    case = make_case("normal", 3, d=2)
    phase_in, phase_out, charge = (
        rng.uniform(0, 6.28, 1500),
        rng.uniform(0, 6.28, 1200),
        rng.standard_normal(1200),
    )
    case = case._replace(
        v_in=np.column_stack([np.cos(phase_in), np.sin(phase_in)]),
        v_out=charge[:, None] * np.column_stack([np.cos(phase_out), np.sin(phase_out)]),
    )
    z = pn.particle_linear(case.x, *case.particles, case.bias * 0, method="mehler", rtol=1e-2)
    want = oracle.forward(case) - case.bias
    error = np.linalg.norm(z - want) / np.linalg.norm(want)
    assert 1e-9 < error < 1.5e-2


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries_go_the_same_way(library: str) -> None:
    xp = pytest.importorskip(library)
    case = make_case("stray", 2, n_in=600, n_out=500)
    arrays = [xp.asarray(a) for a in (case.x, *case.particles, case.bias)]
    z = pn.particle_linear(*arrays, method="mehler", rtol=1e-2)
    assert type(z) is type(arrays[0])
    want = pn.particle_linear(case.x, *case.particles, case.bias, method="mehler", rtol=1e-2)
    np.testing.assert_allclose(np.asarray(z), want, rtol=1e-12, atol=1e-12)


def test_torch_differentiates_the_approximate_forward() -> None:
    torch = pytest.importorskip("torch")
    case = make_case("stray", 2, n_in=300, n_out=320)
    plan = pn.plan(*case.particles, method="mehler", rtol=0.03)
    assert plan.method == "mehler"
    leaves = [torch.tensor(a, requires_grad=True) for a in (case.x, *case.particles, case.bias)]
    pn.particle_linear(*leaves, method=plan).backward(torch.tensor(case.dz))
    want = pn.particle_linear_backward(case.dz, case.x, *case.particles, method=plan)
    for leaf, gradient in zip(leaves, want, strict=True):
        np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=1e-10, atol=1e-12)
