"""Activation functions and their derivatives."""

import numpy as np
import pytest

from pn_gpu.model.activations import ACTIVATIONS, get_activation, log_softmax

Z = np.array([[-3.0, -0.7, -1e-3, 2e-3, 0.4, 2.5], [1.0, -1.0, 0.3, -0.2, 5.0, -6.0]])

KNOWN = {
    "relu": ([-1.0, 2.0], [0.0, 2.0]),
    "leaky_relu": ([-1.0, 2.0], [-0.01, 2.0]),
    "elu": ([-1.0, 2.0], [np.exp(-1) - 1, 2.0]),
    "gelu": ([1.0, -2.0], [0.841191991, -0.0454023059]),
    "tanh": ([0.5], [0.46211715726]),
    "sigmoid": ([0.0, 2.0], [0.5, 0.880797078]),
    "softplus": ([0.0, 3.0], [np.log(2), 3.04858735]),
    "linear": ([1.5], [1.5]),
    "softmax": ([0.0, np.log(3.0)], [0.25, 0.75]),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_known_values(name):
    z, want = KNOWN[name]
    np.testing.assert_allclose(ACTIVATIONS[name].forward(np.array([z]))[0], want, rtol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_backward_is_the_derivative(name):
    activation = ACTIVATIONS[name]
    dy = np.random.default_rng(0).standard_normal(Z.shape)
    got = activation.backward(dy, Z, activation.forward(Z))
    want = np.empty_like(Z)
    for index in np.ndindex(Z.shape):
        moved = np.zeros_like(Z)
        moved[index] = 1e-6
        want[index] = np.sum(dy * (activation.forward(Z + moved) - activation.forward(Z - moved))) / 2e-6
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arguments_stay_finite(name, dtype):
    z = np.array([[-1e4, 1e4, 0.0]], dtype)
    y = ACTIVATIONS[name].forward(z)
    assert y.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(ACTIVATIONS[name].backward(np.ones_like(z), z, y)).all()


def test_log_softmax_is_finite_where_softmax_underflows():
    np.testing.assert_allclose(log_softmax(np.array([[0.0, -2000.0]])), [[0.0, -2000.0]])


def test_unknown_name():
    with pytest.raises(ValueError, match="activation: got 'swish', want one of relu"):
        get_activation("swish")
