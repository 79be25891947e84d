"""Networks: shapes, parameters, gradients, predictions, and the errors for what does not fit."""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.model.counts import count_dense_parameters, count_particle_parameters
from support.differences import network_gradient

RNG = np.random.default_rng(7)
X = RNG.standard_normal((6, 5))
LABELS = np.array([0, 2, 1, 2, 0, 1])


def make(**options):
    options = {"seed": 1, "backend": "numpy", "dtype": "float64"} | options
    return pn.ParticleNetwork([5, 4, 3], **({"dim": 2} | options))


@pytest.mark.parametrize(
    ("sizes", "dim", "count"),
    [([784, 10], 2, 3186), ([784, 10], 3, 4774), ([784, 512, 10], 2, 5746), ([784, 512, 10], 3, 8358)],
)
def test_parameter_count_of_the_paper(sizes, dim, count):
    network = pn.ParticleNetwork(sizes, dim=dim, seed=0, backend="numpy")
    assert network.num_parameters == count == count_particle_parameters(sizes, dim)
    assert sum(value.size for _, value in network.parameters.items()) == count


def test_dense_parameter_count():
    assert pn.DenseNetwork([784, 512, 10], backend="numpy").num_parameters == 407050
    assert count_dense_parameters([784, 512, 10]) == 407050


def test_initial_particles_are_the_papers():
    network = pn.ParticleNetwork([4000, 2000], dim=3, initialisation="paper", seed=0, backend="numpy")
    for nodes in network.particles:
        assert nodes.positions.std() == pytest.approx(0.5, rel=0.03)
        assert abs(nodes.positions.mean()) < 0.02
        np.testing.assert_allclose(np.linalg.norm(nodes.dipoles, axis=1), 1, rtol=1e-6)
    limit = np.sqrt(6 / 6000)
    assert 0.95 * limit < np.abs(network.layers[0].bias).max() <= limit


def test_parameters_are_views_of_one_vector():
    network = make()
    network.particles[1].positions[2, 1] = 42.0
    assert 42.0 in network.parameters.flat
    network.parameters.flat[:] = 0.5
    assert (network.layers[1].bias == 0.5).all()
    network.layers[0].bias = np.arange(4.0)
    assert network.parameters["layers.0.bias"].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"layers\.0\.bias: got shape \(3,\), want \(4,\)"):
        network.layers[0].bias = np.zeros(3)
    with pytest.raises(AttributeError, match=r"particles\.0 has no 'charges'; it has positions, dipoles"):
        _ = network.particles[0].charges


OPTIONS = {
    "dipole": {},
    "unshared": {"shared": False},
    "charge_phase": {"model": "charge_phase"},
    "charge_phase unshared": {"model": "charge_phase", "shared": False},
    "lorentzian": {"potential": "lorentzian", "activation": "softplus"},
    "one dimension": {"dim": 1, "activation": "gelu"},
    "five dimensions": {"dim": 5, "activation": "elu"},
    "regression": {"output": "linear", "activation": "sigmoid"},
    "mae": {"output": "tanh", "loss": "mae", "activation": "tanh"},
    "binary": {"output": "sigmoid", "activation": "tanh"},
    "softmax with mse": {"output": "softmax", "loss": "mse", "activation": "tanh"},
    "sigmoid with categorical": {"output": "sigmoid", "loss": "categorical_crossentropy", "activation": "tanh"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_gradient_by_finite_differences(name):
    network = make(**({"activation": "tanh"} | OPTIONS[name]))
    one_hot = np.eye(3)[LABELS]
    _, gradient = network.loss_and_gradient(X, one_hot)
    want = network_gradient(network, X, one_hot)
    np.testing.assert_allclose(gradient.flat, want, rtol=1e-6, atol=1e-8)


def test_dense_gradient_by_finite_differences():
    network = pn.DenseNetwork([5, 4, 3], activation="tanh", seed=0, backend="numpy", dtype="float64")
    _, gradient = network.loss_and_gradient(X, LABELS)
    np.testing.assert_allclose(gradient.flat, network_gradient(network, X, LABELS), rtol=1e-6, atol=1e-8)


def test_labels_are_one_hot_targets():
    network = make()
    loss, gradient = network.loss_and_gradient(X, LABELS)
    other_loss, other = network.loss_and_gradient(X, np.eye(3)[LABELS])
    assert loss == other_loss
    np.testing.assert_array_equal(gradient.flat, other.flat)


def test_charge_phase_weights_are_its_formula():
    network = make(model="charge_phase")
    inputs, outputs = network.particles[0], network.particles[1]
    s = ((inputs.positions[:, None] - outputs.positions[None]) ** 2).sum(-1)
    want = outputs.charges * np.cos(inputs.phases[:, None] - outputs.phases[None]) * np.exp(-s)
    np.testing.assert_allclose(network.weight(0), want, rtol=1e-12)


def test_to_dense_is_the_same_function():
    for options in OPTIONS.values():
        network = make(**options)
        dense = network.to_dense()
        assert isinstance(dense, pn.DenseNetwork)
        np.testing.assert_allclose(dense.forward(X), network.forward(X), rtol=1e-12)


def test_predictions():
    network = make()
    proba = network.predict_proba(X, batch_size=4)
    np.testing.assert_allclose(proba, network.forward(X), rtol=1e-12)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(network.predict(X), proba.argmax(1))
    assert network.predict(X[:0]).shape == (0,)
    binary = make(output="sigmoid")
    np.testing.assert_array_equal(binary.predict(X), binary.predict_proba(X) > 0.5)
    regression = make(output="linear")
    np.testing.assert_array_equal(regression.predict(X), regression.forward(X))
    assert "accuracy" not in regression.evaluate(X, np.zeros((6, 3)))


def test_evaluate_does_not_depend_on_the_batch_size():
    network = make()
    whole, parts = network.evaluate(X, LABELS), network.evaluate(X, LABELS, batch_size=4)
    assert whole["accuracy"] == np.mean(network.predict(X) == LABELS)
    assert parts == pytest.approx(whole, rel=1e-12)
    assert whole["loss"] == pytest.approx(network.loss_and_gradient(X, LABELS)[0], rel=1e-12)


def test_single_output_takes_flat_targets():
    network = pn.ParticleNetwork([5, 1], output="linear", backend="numpy", seed=0)
    flat = network.evaluate(X, np.arange(6.0))
    assert flat == network.evaluate(X, np.arange(6.0)[:, None])


def test_seed_makes_the_network():
    assert np.array_equal(make(seed=3).parameters.flat, make(seed=3).parameters.flat)
    assert not np.array_equal(make(seed=3).parameters.flat, make(seed=4).parameters.flat)
    assert not np.array_equal(make(seed=None).parameters.flat, make(seed=None).parameters.flat)


def test_copy_is_independent():
    network = make()
    other = network.copy()
    other.parameters.flat[:] = 0
    assert np.any(network.parameters.flat)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sizes": [5]}, ValueError, "sizes: got .* want at least two"),
        ({"sizes": [5, 0, 3]}, ValueError, r"sizes\[1\]: got 0, want a whole number >= 1"),
        ({"sizes": [5, 2.5, 3]}, TypeError, r"sizes\[1\]: got 2\.5 \(float\), want a whole number"),
        ({"dim": 0}, ValueError, "dim: got 0"),
        ({"activation": "swish"}, ValueError, "activation: got 'swish'"),
        ({"activation": ["relu", "relu"]}, ValueError, "activation: got 2 names, want one or 1"),
        ({"output": "soft"}, ValueError, "output: got 'soft'"),
        ({"loss": "hinge"}, ValueError, "loss: got 'hinge', want one of categorical_crossentropy"),
        ({"model": "quadrupole"}, ValueError, "model: got 'quadrupole', want one of dipole, charge_phase"),
        ({"potential": "coulomb"}, ValueError, "potential: got 'coulomb', want one of gaussian"),
        ({"method": "magic"}, ValueError, "method: got 'magic'"),
        ({"rtol": -1}, ValueError, "rtol: got -1"),
        ({"dropout": 1.0}, ValueError, "dropout: got 1.0"),
        ({"dropout": float("nan")}, ValueError, "dropout: got nan"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"seed": "x"}, TypeError, "seed: got 'x'"),
        ({"shared": 1}, TypeError, "shared: got 1"),
        ({"dtype": "float16"}, ValueError, "dtype: got 'float16', want one of float32, float64"),
        ({"backend": "jax"}, ValueError, "backend: got 'jax', want one of numpy, torch, cupy, auto"),
        ({"backend": "numpy:1"}, ValueError, "backend: got 'numpy:1'"),
    ],
)
def test_bad_architecture(options, error, message):
    arguments = {"sizes": [5, 4, 3], "backend": "numpy"} | options
    with pytest.raises(error, match=message):
        pn.ParticleNetwork(arguments.pop("sizes"), **arguments)


NAN = X.copy()
NAN[2, 3] = np.nan


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X[:, :4], LABELS, ValueError, r"x: got shape \(6, 4\), want \[examples, 5\]"),
        (X[0], LABELS, ValueError, r"x: got shape \(5,\)"),
        (NAN, LABELS, ValueError, r"x: got 1 values that are NaN or infinite, the first at \[2, 3\]"),
        (X.astype(complex), LABELS, TypeError, "x: got dtype complex128, want real numbers"),
        ([["a"] * 5], LABELS[:1], TypeError, "x: got dtype <U1, want real numbers"),
        ([[1.0], [1.0, 2.0]], LABELS, ValueError, "x: got a ragged"),
        (X, LABELS[:5], ValueError, r"y: got shape \(5,\), want 6 examples"),
        (X, LABELS + 1, ValueError, "y: got labels from 1 to 3, want 0 to 2"),
        (X, LABELS - 1, ValueError, "y: got labels from -1 to 1, want 0 to 2"),
        (X, LABELS + 0.5, ValueError, "y: got labels that are no whole numbers"),
        (X, np.zeros((6, 4)), ValueError, r"y: got shape \(6, 4\), want labels \[6\] or targets \[6, 3\]"),
        (X, np.full((6, 3), 2.0), ValueError, "y: got values from 2.0 to 2.0, want 0 to 1"),
        (X, np.full((6, 3), np.inf), ValueError, "y: got 18 values that are NaN or infinite"),
        (X, ["cat"] * 6, TypeError, "y: got dtype <U3"),
        (X[:0], LABELS[:0], ValueError, "x: got no examples"),
    ],
)
def test_bad_examples(x, y, error, message):
    with pytest.raises(error, match=message):
        make().evaluate(x, y)
    with pytest.raises(error, match=message):
        make().loss_and_gradient(x, y)


def test_integer_and_list_inputs():
    network = make()
    pixels = RNG.integers(0, 255, (4, 5), np.uint8)
    np.testing.assert_array_equal(network.forward(pixels), network.forward(pixels.astype(float)))
    np.testing.assert_array_equal(network.forward(pixels.tolist()), network.forward(pixels))


@pytest.mark.parametrize("kind", [pn.ParticleNetwork, pn.DenseNetwork])
@pytest.mark.parametrize("options", [{}, {"output": "linear", "loss": "categorical_crossentropy"}])
def test_a_single_softmax_output_is_refused(kind, options):
    """It is 1 whatever the weights are: such a network learns nothing and is always right."""
    with pytest.raises(ValueError, match=r"single output, which is always 1; want output='sigmoid' .*'linear'"):
        kind([4, 8, 1], backend="numpy", **options)
    assert kind([4, 8, 1], backend="numpy", output="sigmoid").sizes == (4, 8, 1)


def test_targets_of_a_softmax_are_shares():
    network = pn.ParticleNetwork([5, 3], backend="numpy", seed=0)
    shares = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    network.evaluate(X[:2, :5], shares)
    network.evaluate(X[:2, :5], shares.astype(np.float16))
    for wrong, total in (([1.0, 1.0, 0.0], "2"), ([0.0, 0.0, 0.0], "0")):
        with pytest.raises(ValueError, match=rf"y: got a row that sums to {total} \(row 1\), want .* sum to 1"):
            network.evaluate(X[:2, :5], np.array([[0.2, 0.3, 0.5], wrong]))
    pn.ParticleNetwork([5, 3], backend="numpy", output="sigmoid").evaluate(X[:2, :5], np.ones((2, 3)))


def test_numbers_too_large_for_the_dtype_are_refused():
    x, y = np.array([[1.0, 1e39]]), np.array([[1e39]])
    for dtype in ("float32", "float64"):
        network = pn.ParticleNetwork([2, 1], backend="numpy", output="linear", dtype=dtype)
        if dtype == "float64":
            assert np.isfinite(network.forward(x)).all()
            continue
        with pytest.raises(ValueError, match=r"x: got 1e\+39 at \[0, 1\], too large for float32"):
            network.forward(x)
        with pytest.raises(ValueError, match=r"y: got 1e\+39 at \[0, 0\], too large for float32"):
            network.fit(x[:, :1] * np.ones((1, 2)), y, progress=False)
