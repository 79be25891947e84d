"""Plans: the tolerance they keep, what "auto" takes, and how a planner follows moving particles."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.planning import calibration, decision, search
from support import oracle

# Direct is dear and features are cheap, or the other way round.
FAVOUR_MEHLER = pn.Costs(0, 1e-8, 1e-9, 0, 1e-10, 1e-12)
BALANCED = pn.Costs(0, 1e-8, 1e-10, 0, 1e-9, 1e-10)
FAVOUR_DIRECT = pn.Costs(0, 1e-12, 1e-13, 0, 1e-8, 1e-9)


def cloud(kind: str, count: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    normal = 0.5 * rng.standard_normal((count, dim))
    if kind == "wide":
        return 2 * normal
    if kind == "clusters":
        return np.sign(normal) + 0.2 * normal
    if kind == "stray":
        normal[:3] = [[100.0] * dim, [-30.0] * dim, [5.0] * dim]
        return normal
    if kind == "shifted":
        return normal + 1000.0
    if kind == "anisotropic":
        turn = np.linalg.qr(np.random.default_rng(7).standard_normal((dim, dim)))[0]
        return (normal * np.linspace(0.2, 2, dim)) @ turn
    if kind == "flat":
        normal[:, 0] = 0.3
        return normal
    if kind == "coincident":
        return np.full((count, dim), 0.7)
    if kind == "heavy":
        return 0.3 * rng.standard_t(3, (count, dim))
    if kind == "uniform":
        return rng.uniform(-1, 1, (count, dim))
    return normal


KINDS = [
    "normal",
    "wide",
    "clusters",
    "stray",
    "shifted",
    "anisotropic",
    "flat",
    "coincident",
    "heavy",
    "uniform",
]


def make_case(kind: str, dim: int, b: int = 4, n_in: int = 1500, n_out: int = 1200, d: int | None = None):
    rng = np.random.default_rng(11)
    case = oracle.random_case(b, n_in, n_out, dim, d, seed=12)
    return case._replace(r_in=cloud(kind, n_in, dim, rng), r_out=cloud(kind, n_out, dim, rng))


@pytest.mark.parametrize("rtol", [1e-1, 1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tolerance_is_kept(kind: str, rtol: float) -> None:
    case = make_case(kind, 2)
    plan = pn.plan(*case.particles, method="mehler", rtol=rtol)
    if plan.method == "direct":
        assert kind in ("wide", "heavy", "anisotropic", "clusters")  # these take the most features
        assert rtol <= 1e-3
        return
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


def test_a_backward_reuses_the_plan_of_its_forward(monkeypatch) -> None:
    from pn_gpu.planning import recent

    calls = []
    monkeypatch.setattr(recent, "decide", lambda *a, **k: calls.append(a) or decision.decide(*a, **k))
    case = make_case("normal", 2, n_in=400, n_out=410)
    for scale in (1.0, 1.0, 1.1):
        particles = (scale * case.r_in, *case.particles[1:])
        pn.particle_linear(case.x, *particles, method="mehler", rtol=0.03)
        pn.particle_linear_backward(case.dz, case.x, *particles, method="mehler", rtol=0.03)
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


class TestWhatIsTaken:
    def test_the_default_costs_are_measured_once(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("PN_GPU_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(calibration, "_known", {})
        monkeypatch.setattr(calibration, "DIRECT_WIDTH", {"cpu": 64})
        monkeypatch.setattr(calibration, "MEHLER_WIDTH", {"cpu": 64})
        like = np.zeros((1, 2), np.float32)
        costs = calibration.machine_costs(like)
        assert all(value > 0 for value in dataclasses.astuple(costs))
        (entry,) = json.loads((tmp_path / "costs.json").read_text()).values()
        assert pn.Costs(**entry) == costs
        monkeypatch.setattr(calibration, "measure", lambda like: pytest.fail("measured again"))
        monkeypatch.setattr(calibration, "_known", {})
        assert calibration.machine_costs(like) == costs

    def test_a_cache_that_cannot_be_written_is_done_without(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("PN_GPU_CACHE_DIR", str(tmp_path / "file"))
        monkeypatch.setattr(calibration, "_known", {})
        monkeypatch.setattr(calibration, "measure", lambda like: FAVOUR_DIRECT)
        assert calibration.machine_costs(np.zeros(1)) == FAVOUR_DIRECT

    @pytest.mark.parametrize("content", ["", "[]", '{"direct_call": 1}', '{"direct_call": "x"}'])
    def test_a_broken_override_is_an_error(self, tmp_path, monkeypatch, content: str) -> None:
        (tmp_path / "costs.json").write_text(content)
        monkeypatch.setenv("PN_GPU_COSTS", str(tmp_path / "costs.json"))
        monkeypatch.setattr(calibration, "_known", {})
        with pytest.raises(ValueError, match="PN_GPU_COSTS"):
            calibration.machine_costs(np.zeros(1))

    def test_a_broken_cache_is_measured_anew(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "costs.json").write_text("{")
        monkeypatch.setenv("PN_GPU_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(calibration, "_known", {})
        monkeypatch.setattr(calibration, "measure", lambda like: FAVOUR_DIRECT)
        assert calibration.machine_costs(np.zeros(1)) == FAVOUR_DIRECT
        assert json.loads((tmp_path / "costs.json").read_text())

    def test_auto_goes_by_the_costs(self) -> None:
        case = make_case("normal", 2)
        taken = pn.plan(*case.particles, costs=FAVOUR_MEHLER)
        assert taken.method == "mehler"
        assert taken.direct_seconds >= 1.5 * taken.seconds
        assert pn.plan(*case.particles, costs=FAVOUR_DIRECT).method == "direct"

    def test_small_layers_are_direct_without_asking_the_costs(self, monkeypatch) -> None:
        monkeypatch.setattr("pn_gpu.planning.decision.machine_costs", lambda like: pytest.fail("asked"))
        assert pn.plan(*make_case("normal", 2, n_in=300, n_out=10).particles).method == "direct"

    def test_the_choice_does_not_depend_on_the_batch_alone(self) -> None:
        case = make_case("normal", 2)
        costs = pn.Costs(0, 1e-9, 1e-11, 0, 1e-9, 1e-9)
        assert pn.plan(*case.particles, batch=1, costs=costs).method == "mehler"
        assert pn.plan(*case.particles, batch=4096, costs=costs).method == "direct"

    @pytest.mark.parametrize("method", ["auto", "mehler"])
    def test_rtol_0_is_direct(self, method: str) -> None:
        plan = pn.plan(*make_case("normal", 2).particles, method=method, rtol=0, costs=FAVOUR_MEHLER)
        assert plan.method == "direct"
        assert "rtol 0" in plan.reason

    def test_direct_is_direct(self) -> None:
        assert pn.plan(*make_case("normal", 2).particles, method="direct", costs=FAVOUR_MEHLER).method == "direct"

    def test_a_tolerance_beyond_rounding_is_direct(self) -> None:
        particles = [a.astype(np.float32) for a in make_case("normal", 2).particles]
        plan = pn.plan(*particles, method="mehler", rtol=1e-7)
        assert plan.method == "direct"
        assert "rounding" in plan.reason

    @pytest.mark.parametrize("dim", [6, 20])
    def test_too_many_dimensions_are_direct(self, dim: int) -> None:
        plan = pn.plan(*make_case("normal", dim).particles, method="mehler")
        assert plan.method == "direct"
        assert "features" in plan.reason

    def test_no_weights_are_direct(self) -> None:
        case = make_case("normal", 2)
        particles = (case.r_in, 0 * case.v_in, case.r_out, case.v_out)
        assert pn.plan(*particles, method="mehler").method == "direct"
        empty = [a[:0] for a in case.particles]
        assert pn.plan(*empty, method="mehler").method == "direct"

    def test_a_table(self) -> None:
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
        for word in ("worst neuron", "predicted step", "workspace", "exact particles", "N=1500, M=1200"):
            assert word in text
        assert "method           direct" in str(pn.plan(*case.particles, method="direct"))


class TestErrors:
    @pytest.mark.parametrize("rtol", [-1e-3, 1.5, float("nan"), float("inf")])
    def test_rtol_out_of_range(self, rtol: float) -> None:
        case = make_case("normal", 2, n_in=5, n_out=4)
        with pytest.raises(ValueError, match="rtol"):
            pn.plan(*case.particles, rtol=rtol)
        with pytest.raises(ValueError, match="rtol"):
            pn.particle_linear(case.x, *case.particles, method="mehler", rtol=rtol)
        with pytest.raises(ValueError, match="rtol"):
            pn.MethodPlanner(rtol=rtol)

    @pytest.mark.parametrize("name", ["r_in", "v_in", "r_out", "v_out"])
    def test_particles_that_are_not_finite(self, name: str) -> None:
        case = make_case("normal", 2)
        getattr(case, name)[3, 1] = np.inf
        with pytest.raises(ValueError, match=f"{name}: got a value that is not finite"):
            pn.plan(*case.particles, method="mehler")
        plan = pn.plan(*case.particles, costs=FAVOUR_MEHLER)
        assert plan.method == "direct"
        assert name in plan.reason

    def test_other_potentials(self) -> None:
        case = make_case("normal", 2)
        with pytest.raises(ValueError, match="lorentzian"):
            pn.particle_linear(case.x, *case.particles, potential="lorentzian", method="mehler")
        plan = pn.plan(*case.particles, potential="lorentzian", costs=FAVOUR_MEHLER)
        assert plan.method == "direct"

    def test_a_plan_for_another_layer(self) -> None:
        case, other = make_case("normal", 2), make_case("normal", 2, n_out=1100)
        plan = pn.plan(*case.particles, method="mehler")
        with pytest.raises(ValueError, match=r"method: got a plan for N, M, n, d = \(1500, 1200, 2, 2\)"):
            pn.particle_linear(other.x, *other.particles, method=plan)
        with pytest.raises(ValueError, match="plan for"):
            pn.approximation_error(*other.particles, plan=plan)
        with pytest.raises(ValueError, match="plan for"):
            pn.particle_linear(case.x, *case.particles, potential="triangle", method=plan)

    def test_wrong_types(self) -> None:
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


class TestApproximationError:
    @pytest.mark.parametrize("kind", ["normal", "stray", "heavy"])
    def test_it_judges_what_is_computed(self, kind: str) -> None:
        case = make_case(kind, 2)
        plan = pn.plan(*case.particles, method="mehler", rtol=1e-2)
        assert plan.method == "mehler"
        moved = case._replace(r_in=1.2 * case.r_in, r_out=case.r_out + 0.1)
        for now in (case, moved):
            w = oracle.weight(now)
            dw = pn.particle_linear(np.eye(1500), *now.particles, method=plan) - w
            norm = np.linalg.norm(w)
            error = pn.approximation_error(*now.particles, plan=plan)
            assert 1 / 1.3 < error.estimate / (np.linalg.norm(dw) / norm) < 1.3
            assert np.linalg.norm(dw) / norm < 1.05 * error.certificate
            assert np.linalg.norm(dw, axis=1).max() * np.sqrt(1500) / norm < 1.05 * error.worst_input
            assert np.linalg.norm(dw, axis=0).max() * np.sqrt(1200) / norm < 1.05 * error.worst_output

    def test_direct_has_none(self) -> None:
        assert pn.approximation_error(*make_case("normal", 2).particles, method="direct") == (0, 0, 0, 0)


class TestMethodPlanner:
    def test_between_checks_the_plan_is_the_same_object(self) -> None:
        case = make_case("normal", 2)
        planner = pn.MethodPlanner(costs=FAVOUR_MEHLER, interval=8)
        plans = [planner.plan(4, *case.particles) for _ in range(40)]
        assert all(plan.method == "mehler" for plan in plans)
        changes = [k for k in range(1, 40) if plans[k] is not plans[k - 1]]
        assert changes == [1, 3, 7, 15, 23, 31, 39]
        assert len({id(plan.approximation.expansion) for plan in plans}) == 1

    def test_spreading_particles_get_more_features_and_keep_the_tolerance(self) -> None:
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

    def test_particles_that_draw_together_need_fewer_features_in_time(self) -> None:
        case = make_case("wide", 2)
        planner = pn.MethodPlanner(costs=FAVOUR_MEHLER, interval=1)
        first = planner.plan(4, *case.particles)
        now = case._replace(r_in=0.3 * case.r_in, r_out=0.3 * case.r_out)
        last = [planner.plan(4, *now.particles) for _ in range(20)][-1]
        assert last.features < first.features / 2

    def test_strays_go_the_direct_path_without_a_new_expansion(self) -> None:
        case = make_case("normal", 2)
        planner = pn.MethodPlanner(costs=BALANCED, interval=1)
        before = planner.plan(4, *case.particles)
        case.r_in[17] = 1.6
        after = planner.plan(4, *case.particles)
        assert 17 in after.approximation.outside_in
        assert after.approximation.expansion is before.approximation.expansion

    def test_the_choice_has_hysteresis(self) -> None:
        case = make_case("normal", 2)
        features = pn.plan(*case.particles, costs=FAVOUR_MEHLER).features
        step = pn.Costs(0, 0, 0, 0, 1e-9, 0).mehler(4, 1500, 1200, 2, features)

        def costs(gain: float) -> pn.Costs:
            return pn.Costs(0, gain * step / (1500 * 1200), 0, 0, 1e-9, 0)

        planner = pn.MethodPlanner(costs=costs(1.35), interval=1)
        assert planner.plan(4, *case.particles).method == "direct"
        planner = pn.MethodPlanner(costs=costs(3.0), interval=1)
        assert planner.plan(4, *case.particles).method == "mehler"
        planner.costs = costs(1.35)
        assert planner.plan(4, *case.particles).method == "mehler"
        planner.costs = costs(1.0)
        assert planner.plan(4, *case.particles).method == "direct"

    def test_reset_and_other_sizes_plan_anew(self) -> None:
        case, other = make_case("normal", 2), make_case("normal", 2, n_in=1400)
        planner = pn.MethodPlanner(costs=FAVOUR_MEHLER)
        first = planner.plan(4, *case.particles)
        planner.reset()
        assert planner.plan(4, *case.particles) is not first
        assert planner.plan(4, *other.particles).sizes == (1400, 1200, 2, 2)

    def test_direct_never_searches(self, monkeypatch) -> None:
        monkeypatch.setattr("pn_gpu.planning.decision.find_approximation", lambda *a: pytest.fail("searched"))
        case = make_case("normal", 2)
        planner = pn.MethodPlanner("direct")
        assert [planner.plan(4, *case.particles).method for _ in range(5)] == ["direct"] * 5
        planner = pn.MethodPlanner(potential="lorentzian")
        assert planner.plan(4, *case.particles).method == "direct"


def test_of_many_particles_rare_strays_are_worth_a_larger_expansion(monkeypatch) -> None:
    case = oracle.random_case(1, 6000, 5000, 2, seed=3)
    inputs, outputs = search.Nodes(case.r_in, case.v_in), search.Nodes(case.r_out, case.v_out)
    norm = search.samples.sampled_norm(inputs, outputs, 160, np.random.default_rng(0))

    def cost(features: int, outside_in: int, outside_out: int) -> float:
        return features + 20 * (outside_in + outside_out)

    problem = search.Problem(inputs, outputs, 1e-3, norm, cost)
    candidates = search._Candidates(search.find_frame(inputs.r, outputs.r), 60, problem)
    small = search.approximate(candidates.expansion(19), inputs, outputs, 1e-3, norm)
    assert small is not None
    assert search._with_fewer_strays(small, candidates, problem) is small  # all particles have been looked at
    monkeypatch.setattr(search, "PART", 256)
    better = search._with_fewer_strays(small, candidates, problem)
    assert cost(*better.approximation.size) < cost(*small.approximation.size)
    assert better.approximation.size[0] > small.approximation.size[0]
    assert better.estimate <= 1e-3


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
