"""Degrees, features and residuals of the Mehler expansion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pn_gpu.kernels.mehler.expansion import make_expansion, ranked_degrees, rate
from pn_gpu.kernels.mehler.features import NodeFeatures
from pn_gpu.planning import samples
from pn_gpu.planning.remainder import Nodes, certificate, remainder
from support import mehler as support
from support import oracle


@pytest.mark.parametrize(("dim", "count"), [(1, 40), (2, 66), (3, 90), (5, 60)])
def test_the_features_are_hermite_functions(dim: int, count: int) -> None:
    expansion = support.expansion(dim, count)
    r = 0.7 * np.random.default_rng(1).standard_normal((60, dim))
    np.testing.assert_allclose(samples.features(expansion, r), support.features(expansion, r), atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_enough_features_give_the_gaussian(dim: int) -> None:
    expansion = support.expansion(dim, {1: 40, 2: 500, 3: 2500}[dim])
    rng = np.random.default_rng(2)
    r, q = 0.5 * rng.standard_normal((2, 40, dim))
    product = samples.features(expansion, r).T @ samples.features(expansion, q)
    np.testing.assert_allclose(product, samples.gaussian(r, q), atol={1: 1e-14, 2: 1e-13, 3: 1e-9}[dim])


@pytest.mark.parametrize("rates", [[0.3], [0.3, 0.3], [0.1, 0.5, 0.3], [1e-3, 0.6], [0.2] * 6])
@pytest.mark.parametrize("count", [1, 7, 50])
def test_ranked_degrees_are_the_best(rates: list[float], count: int) -> None:
    degrees, weights = ranked_degrees(np.array(rates), count)
    steps = np.log(1 / np.array(rates))
    assert len(degrees) >= count
    assert len(np.unique(degrees, axis=0)) == len(degrees)
    np.testing.assert_allclose(degrees @ steps, weights)
    assert (np.diff(weights) >= -1e-12).all()
    tops = [int(weights[-1] / step) + 2 for step in steps]
    if np.prod(tops) < 1e5:
        every = np.sort(np.array(list(itertools.product(*(range(top) for top in tops)))) @ steps)
        np.testing.assert_allclose(every[: len(weights)], weights)


def test_the_degree_sets_hold_whatever_is_lower() -> None:
    degrees, _ = ranked_degrees(np.array([0.2, 0.3, 0.5]), 40)
    kept = {tuple(degree) for degree in degrees[:40].tolist()}
    for degree in kept:
        for axis in range(3):
            lower = tuple(a - (k == axis) for k, a in enumerate(degree))
            assert lower in kept or min(lower) < 0


def test_the_rate_follows_the_spread() -> None:
    spreads = [0.0, 0.1, 0.5, 1.0, 3.0, 100.0]
    rates = [rate(spread) for spread in spreads]
    assert rates == sorted(rates)
    assert rates[0] > 0
    assert rates[-1] < 1
    assert rate(0.5) == pytest.approx(2 - np.sqrt(3))


def test_residuals_are_what_the_features_miss() -> None:
    expansion = support.expansion(2, 21)
    r = np.concatenate([0.5 * np.random.default_rng(3).standard_normal((3000, 2)), [[30.0, 0], [1e4, -1e4]]])
    e = remainder(expansion, Nodes(r, r)).e
    missed = 1 - (support.features(expansion, r[:-2]) ** 2).sum(axis=0)
    np.testing.assert_allclose(e, np.append(missed, [1, 1]), atol=1e-12)


def test_left_out_particles_have_no_features() -> None:
    from pn_gpu.kernels.mehler.arrays import Library

    r = np.zeros((5, 2), np.float32)
    library = Library(r, r)
    nodes = NodeFeatures(library, support.expansion(2, 10), np.array([1, 4]))
    phi = nodes.features(nodes.coordinates(library.columns(r), slice(0, 5)))
    assert not phi[:, [1, 4]].any()
    assert phi[0, [0, 2, 3]].all()


@pytest.mark.parametrize("cloud", ["normal", "uniform", "clusters", "line", "far"])
@pytest.mark.parametrize("features", [6, 21, 45])
def test_the_bounds_bound(cloud: str, features: int) -> None:
    rng = np.random.default_rng(4)
    case = oracle.random_case(1, 300, 250, 2, seed=5)
    r_in, r_out = (_cloud(cloud, count, rng) for count in (300, 250))
    expansion = support.expansion(2, features)
    dw = (case.v_in @ case.v_out.T) * (
        samples.gaussian(r_in, r_out) - support.features(expansion, r_in).T @ support.features(expansion, r_out)
    )
    inputs, outputs = Nodes(r_in, case.v_in), Nodes(r_out, case.v_out)
    missed_in, missed_out = remainder(expansion, inputs), remainder(expansion, outputs)
    left_out = np.zeros(300, dtype=bool), np.zeros(250, dtype=bool)
    for sums_in, sums_out in (
        (missed_in.sums(left_out[0]), missed_out.sums(left_out[1])),
        (missed_in.coarse_sums(left_out[0]), missed_out.coarse_sums(left_out[1])),
    ):
        assert np.linalg.norm(dw) <= certificate(sums_in, sums_out) + 1e-13
        assert (np.linalg.norm(dw, axis=1) <= missed_in.bounds(sums_out) + 1e-13).all()
        assert (np.linalg.norm(dw, axis=0) <= missed_out.bounds(sums_in) + 1e-13).all()
    for seed in range(5):
        generator = np.random.default_rng(seed)
        estimate = samples.sampled_error(expansion, inputs, missed_in.e, outputs, missed_out.e, 64, generator)
        assert 1 / 1.5 < estimate / np.linalg.norm(dw) < 1.5


def test_the_shell_makes_the_bounds_sharp() -> None:
    case = oracle.random_case(1, 900, 800, 2)
    expansion = support.expansion(2, 21)
    missed_in = remainder(expansion, Nodes(case.r_in, case.v_in))
    missed_out = remainder(expansion, Nodes(case.r_out, case.v_out))
    left_out = np.zeros(900, dtype=bool), np.zeros(800, dtype=bool)
    sharp = certificate(missed_in.sums(left_out[0]), missed_out.sums(left_out[1]))
    coarse = certificate(missed_in.coarse_sums(left_out[0]), missed_out.coarse_sums(left_out[1]))
    product = support.features(expansion, case.r_in).T @ support.features(expansion, case.r_out)
    error = np.linalg.norm((case.v_in @ case.v_out.T) * (samples.gaussian(case.r_in, case.r_out) - product))
    assert error < sharp < 1.2 * error
    assert coarse > 2 * error


@pytest.mark.parametrize("seed", range(5))
def test_the_sampled_norm_is_near(seed: int) -> None:
    case = oracle.random_case(1, 900, 800, 3, seed=seed)
    inputs, outputs = Nodes(case.r_in, case.v_in), Nodes(case.r_out, case.v_out)
    norm = samples.sampled_norm(inputs, outputs, 128, np.random.default_rng(seed))
    assert norm == pytest.approx(np.linalg.norm(oracle.weight(case)), rel=0.1)


def test_a_few_particles_are_all_sampled() -> None:
    case = oracle.random_case(1, 30, 20, 2)
    inputs, outputs = Nodes(case.r_in, case.v_in), Nodes(case.r_out, case.v_out)
    norm = samples.sampled_norm(inputs, outputs, 64, np.random.default_rng(0))
    assert norm == pytest.approx(np.linalg.norm(oracle.weight(case)), rel=1e-12)


def _cloud(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "normal":
        return 0.5 * rng.standard_normal((count, 2))
    if kind == "uniform":
        return rng.uniform(-1, 1, (count, 2))
    if kind == "clusters":
        return rng.choice([-1.0, 1.0], (count, 2)) + 0.1 * rng.standard_normal((count, 2))
    if kind == "line":
        return np.column_stack([np.linspace(-2, 2, count), np.zeros(count)])
    return 0.5 * rng.standard_normal((count, 2)) + [3.0, -2.0]


def test_make_expansion_orders_the_degrees() -> None:
    degrees = np.array([[1, 0], [0, 1], [0, 0]])
    expansion = make_expansion(np.zeros(2), np.eye(2), np.array([0.2, 0.2]), degrees)
    assert expansion.degrees.tolist() == [[0, 0], [0, 1], [1, 0]]
