"""Losses, their gradients, and their stable forms from logits."""

import numpy as np
import pytest

from pn_gpu.model.activations import ACTIVATIONS
from pn_gpu.model.losses import LOSSES

RNG = np.random.default_rng(1)
Z = RNG.standard_normal((4, 3))
Y = RNG.uniform(0.05, 0.95, (4, 3))
TARGETS = {
    "categorical_crossentropy": np.eye(3)[[0, 2, 1, 2]],
    "binary_crossentropy": RNG.integers(0, 2, (4, 3)).astype(float),
    "mse": RNG.standard_normal((4, 3)),
    "mae": RNG.standard_normal((4, 3)),
}


def numerical(function, at):
    result = np.empty_like(at)
    for index in np.ndindex(at.shape):
        moved = np.zeros_like(at)
        moved[index] = 1e-6
        result[index] = (function(at + moved) - function(at - moved)) / 2e-6
    return result


@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name):
    loss, t = LOSSES[name], TARGETS[name]
    np.testing.assert_allclose(
        loss.gradient(Y, t), numerical(lambda y: loss.value(y, t).sum(), Y), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.logits_activation])
def test_logits_form_is_the_same_loss(name):
    loss, t = LOSSES[name], TARGETS[name]
    y = ACTIVATIONS[loss.logits_activation].forward(Z)
    np.testing.assert_allclose(loss.value_from_logits(Z, t), loss.value(y, t), rtol=1e-12)
    want = numerical(lambda z: loss.value_from_logits(z, t).sum(), Z)
    np.testing.assert_allclose(loss.logits_gradient(y, t), want, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.logits_activation])
def test_logits_form_is_exact_where_activations_saturate(name):
    z = np.array([[1000.0, 0.0, -1000.0]])
    t = np.array([[0.0, 0.0, 1.0]])
    want = {"categorical_crossentropy": 2000.0, "binary_crossentropy": 2000.0 + np.log(2)}[name]
    assert LOSSES[name].value_from_logits(z, t).item() == pytest.approx(want)


def test_values_by_hand():
    y, t = np.array([[0.5, 0.25], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]])
    assert LOSSES["mse"].value(y, t).tolist() == pytest.approx([0.5 * (0.25 + 0.0625), 0.5 * (1 + 4)])
    assert LOSSES["mae"].value(y, t).tolist() == pytest.approx([0.5 + 0.25, 1 + 2])
    one_hot = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert LOSSES["categorical_crossentropy"].value(y, one_hot).tolist() == pytest.approx([np.log(2), 0])
    assert LOSSES["binary_crossentropy"].value(np.array([[0.5]]), np.array([[1.0]])).item() == pytest.approx(np.log(2))


def test_soft_targets_need_not_add_up_to_one():
    t = np.array([[0.5, 0.2, 0.1]])
    loss = LOSSES["categorical_crossentropy"]
    want = numerical(lambda z: loss.value_from_logits(z, t).sum(), Z[:1])
    y = ACTIVATIONS["softmax"].forward(Z[:1])
    np.testing.assert_allclose(loss.logits_gradient(y, t), want, rtol=1e-7, atol=1e-9)
