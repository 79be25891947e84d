"""Networks whose layers are planned: the Mehler method through training."""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.training.passes import batch_gradient

RNG = np.random.default_rng(4)
X = RNG.standard_normal((60, 300)).astype(np.float32)
LABELS = RNG.integers(0, 3, 60)


def make(**options):
    return pn.ParticleNetwork([300, 280, 3], dim=2, seed=0, backend="numpy", **options)


def fit(network, **options):
    return network.fit(X, LABELS, **({"epochs": 4, "batch_size": 20, "seed": 1, "optimizer": pn.Adam(0.01)} | options))


def test_wide_layers_take_the_method_and_narrow_ones_do_not():
    network = make(method="mehler")
    network.forward(X)
    wide, narrow = (layer.planner.current for layer in network.connections)
    assert wide.method == "mehler"
    assert narrow.method == "direct"  # 280 x 3: more work than the weights themselves


def test_auto_takes_the_method_for_a_wide_layer():
    x = np.random.default_rng(0).standard_normal((30, 800)).astype(np.float32)
    networks = {
        method: pn.ParticleNetwork([800, 700, 3], dim=2, seed=0, backend="numpy", method=method)
        for method in ("auto", "direct")
    }
    np.testing.assert_array_equal(networks["auto"].forward(x), networks["direct"].forward(x))  # no search for one call
    for _ in range(12):
        z = {method: network.forward(x) for method, network in networks.items()}
    wide, narrow = (layer.planner.current for layer in networks["auto"].connections)
    assert (wide.method, wide.requested) == ("mehler", "auto")
    assert narrow.method == "direct"
    # At rtol 1e-3 of W; the softmax of the paper's start, whose logits are large, multiplies it.
    error = np.linalg.norm(z["auto"] - z["direct"]) / np.linalg.norm(z["direct"])
    assert 0 < error < 2e-2


def test_training_follows_the_exact_one():
    networks = {method: make(method=method) for method in ("direct", "mehler")}
    histories = {method: fit(network) for method, network in networks.items()}
    assert networks["mehler"].connections[0].planner.current.method == "mehler"
    # rtol 1e-3 of the weights: the losses part by about as much over twelve steps.
    np.testing.assert_allclose(histories["mehler"]["loss"], histories["direct"]["loss"], rtol=2e-2)
    assert histories["mehler"]["loss"] != histories["direct"]["loss"]


def test_gradient_is_that_of_the_planned_forward():
    network = make(method="mehler", rtol=1e-2, dtype="float64", activation="tanh")
    x, one_hot = X[:5].astype(float), np.eye(3)[LABELS[:5]]
    _, gradient, _ = batch_gradient(network, x, one_hot)
    plans = [layer.planner.current for layer in network.connections]
    flat = network.parameters.flat.copy()
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.standard_normal(flat.size)
        values = []
        for step in (1e-6, -1e-6):
            network.parameters.flat[:] = flat + step * direction
            for layer, plan in zip(network.connections, plans, strict=True):
                layer.planner.current, layer.planner._left = plan, 10  # centre, rotation and index set are held
            values.append(float(batch_gradient(network, x, one_hot)[0]))
        slope = (values[0] - values[1]) / 2e-6
        assert slope == pytest.approx(float(gradient.flat @ direction), rel=1e-5, abs=1e-8)


def test_runs_repeat_and_resume_exactly(tmp_path):
    whole, again, cut = (make(method="mehler") for _ in range(3))
    want = fit(whole)
    assert fit(again)["loss"] == want["loss"]
    path = tmp_path / "run.safetensors"
    fit(cut, epochs=2, checkpoint=path)
    resumed = make(method="mehler")
    assert fit(resumed, checkpoint=path, resume=True)["loss"] == want["loss"]
    assert resumed.parameters.flat.tobytes() == whole.parameters.flat.tobytes()


def test_copies_plan_for_themselves(tmp_path):
    network = make(method="mehler")
    network.forward(X)
    other = network.to(dtype="float64")
    assert other.connections[0].planner is not network.connections[0].planner
    network.save(tmp_path / "net")
    assert pn.load(tmp_path / "net", backend="numpy").method == "mehler"


def test_other_potentials_have_no_fast_method():
    with pytest.raises(ValueError, match="method: got \"mehler\" with the potential 'lorentzian'"):
        make(method="mehler", potential="lorentzian")
    assert make(potential="lorentzian").forward(X).shape == (60, 3)


def test_charge_phase_and_unshared_particles():
    options = {"model": "charge_phase", "shared": False}
    exact, fast = make(method="direct", **options), make(method="mehler", **options)
    error = np.linalg.norm(fast.forward(X) - exact.forward(X)) / np.linalg.norm(exact.forward(X))
    assert 0 < error < 1e-2
