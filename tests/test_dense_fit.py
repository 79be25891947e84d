"""Particles fitted to stored weights: found again where there are any, and an honest report where there are none."""

import itertools

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.data import load


def particle_weights(rng, sizes, dim, dipole_dim):
    sets = [(0.5 * rng.standard_normal((num, dim)), rng.standard_normal((num, dipole_dim))) for num in sizes]
    return [pn.dense_weight(*a, *b) for a, b in itertools.pairwise(sets)]


@pytest.mark.parametrize(("dim", "dipole_dim"), [(3, 3), (2, 4), (1, 2)])
def test_the_weights_of_particles_are_found_again(dim, dipole_dim):
    (weight,) = particle_weights(np.random.default_rng(1), (60, 40), dim, dipole_dim)
    fit = pn.fit_to_dense(weight, dim, dipole_dim, progress=False)
    assert fit.errors[0] < 1e-3
    assert fit.low_rank_errors[0] > 0.05
    assert (fit.parameters, fit.dense_parameters) == ((dim + dipole_dim) * 100, 2400)
    made = pn.dense_weight(*fit.node_sets[0], *fit.node_sets[1])
    assert np.linalg.norm(made - weight) / np.linalg.norm(weight) == pytest.approx(fit.errors[0], rel=1e-2, abs=1e-6)


def test_shared_node_sets_of_several_layers():
    weights = particle_weights(np.random.default_rng(2), (40, 30, 20), 2, 3)
    fit = pn.fit_to_dense(weights, 2, 3, steps=3000, progress=False)
    assert [len(positions) for positions, _ in fit.node_sets] == [40, 30, 20]
    assert max(fit.errors) < 0.25
    assert all(error < low for error, low in zip(fit.errors, fit.low_rank_errors, strict=True))


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_weights_does_not_matter(scale):
    weight = np.random.default_rng(3).standard_normal((30, 20)).astype(np.float32)
    plain, scaled = (pn.fit_to_dense(w, 2, steps=200, progress=False) for w in (weight, scale * weight))
    # The two runs differ by rounding, which 200 steps amplify.
    assert scaled.errors[0] == pytest.approx(plain.errors[0], rel=1e-2)
    assert 0.3 < plain.errors[0] < 1  # random weights are not those of particles, and the report says so


def test_a_network_keeps_its_biases_and_learns_on():
    data = load("digits")
    dense = pn.DenseNetwork([64, 32, 10], activation="leaky_relu", seed=0, backend="numpy")
    options = {"batch_size": 32, "progress": False}
    dense.fit(data.x_train, data.y_train, epochs=15, optimizer=pn.Adam(pn.OneCycle(0.01)), **options)
    fit = pn.fit_to_dense(dense, dim=3, progress=False)
    network = fit.network
    assert network.num_parameters == fit.parameters + 42
    for ours, theirs in zip(network.layers, dense.layers, strict=True):
        np.testing.assert_array_equal(ours.bias, theirs.bias)
    np.testing.assert_array_equal(network.particles[1].positions, fit.node_sets[1].positions)
    assert "64 x 32: error" in str(fit)
    before = network.evaluate(data.x_test, data.y_test)["accuracy"]
    teacher = dense.predict_proba(data.x_train)
    network.fit(data.x_train, teacher, epochs=8, optimizer=pn.Adam(pn.OneCycle(0.02)), **options)
    after = network.evaluate(data.x_test, data.y_test)["accuracy"]
    assert after > max(before, 0.9)


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (np.ones(3), {}, ValueError, r"target: got shape \(3,\)"),
        (np.ones((3, 0)), {}, ValueError, r"target: got shape \(3, 0\)"),
        (np.ones((3, 2), int), {}, TypeError, "target: got dtype int64"),
        (np.zeros((3, 2)), {}, ValueError, "target: got weights that are not finite or all 0"),
        (np.full((3, 2), np.nan), {}, ValueError, "target: got weights that are not finite or all 0"),
        ([], {}, ValueError, "target: got no matrix"),
        ([np.ones((3, 2)), np.ones((3, 2))], {}, ValueError, r"target\[1\]: got 3 inputs, want 2"),
        (np.ones((3, 2)), {"dim": 0}, ValueError, "dim: got 0"),
        (np.ones((3, 2)), {"dipole_dim": 0}, ValueError, "dipole_dim: got 0"),
        (np.ones((3, 2)), {"steps": 0}, ValueError, "steps: got 0"),
        (np.ones((3, 2)), {"lr": 0.0}, ValueError, "lr: got 0.0"),
    ],
)
def test_bad_input_names_itself(target, options, error, message):
    with pytest.raises(error, match=message):
        pn.fit_to_dense(target, **options)
