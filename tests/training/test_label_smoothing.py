"""Targets that are a little less sure."""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.training.label_smoothing import smooth_labels

RNG = np.random.default_rng(5)
X = RNG.standard_normal((60, 4))
LABELS = RNG.integers(0, 3, 60)
ANSWERS = RNG.integers(0, 2, (60, 3)).astype(float)


def make(**options):
    return pn.ParticleNetwork([4, 6, 3], **({"seed": 0, "backend": "numpy", "dtype": "float64"} | options))


def fit(network, y, **options):
    return network.fit(X, y, **({"epochs": 3, "batch_size": 20, "optimizer": pn.SGD(0.1), "seed": 1} | options))


@pytest.mark.parametrize(
    ("options", "y", "smoothed"),
    [
        ({}, LABELS, 0.8 * np.eye(3)[LABELS] + 0.2 / 3),
        ({"output": "sigmoid"}, ANSWERS, 0.8 * ANSWERS + 0.2 / 2),
    ],
    ids=["classes", "questions"],
)
def test_training_is_that_of_smoothed_targets(options, y, smoothed):
    network, other, plain = make(**options), make(**options), make(**options)
    history = fit(network, y, label_smoothing=0.2)
    want = fit(other, smoothed)
    fit(plain, y)
    np.testing.assert_array_equal(network.parameters.flat, other.parameters.flat)
    assert not np.allclose(network.parameters.flat, plain.parameters.flat)
    assert history["loss"] == want["loss"]
    assert history["accuracy"] == want["accuracy"]


def test_validation_is_not_smoothed():
    network = make()
    history = fit(network, LABELS, label_smoothing=0.3, validation_data=(X, LABELS))
    assert history["val_loss"][-1] == network.evaluate(X, LABELS)["loss"]
    assert history["val_loss"][-1] != pytest.approx(network.evaluate(X, 0.7 * np.eye(3)[LABELS] + 0.1)["loss"])


def test_the_likeliest_class_stays():
    targets = RNG.dirichlet(np.ones(3), 50)
    smoothed = smooth_labels(targets, 0.9, make())
    np.testing.assert_array_equal(smoothed.argmax(axis=1), targets.argmax(axis=1))
    np.testing.assert_allclose(smoothed.sum(axis=1), 1)


def test_a_run_goes_on_with_its_smoothing_only(tmp_path):
    path = tmp_path / "run.safetensors"
    fit(make(), LABELS, label_smoothing=0.1, checkpoint=path)
    with pytest.raises(ValueError, match=r"label_smoothing 0\.1, this run has 0\.0"):
        fit(make(), LABELS, epochs=4, checkpoint=path, resume=True)
    whole, resumed = make(), make()
    fit(whole, LABELS, epochs=4, label_smoothing=0.1)
    fit(resumed, LABELS, epochs=4, label_smoothing=0.1, checkpoint=path, resume=True)
    np.testing.assert_array_equal(resumed.parameters.flat, whole.parameters.flat)


@pytest.mark.parametrize("part", [1, -0.1, float("nan"), "some"])
def test_parts_that_are_none(part):
    with pytest.raises((ValueError, TypeError), match="label_smoothing: got"):
        fit(make(), LABELS, label_smoothing=part)


def test_numbers_are_not_smoothed():
    with pytest.raises(ValueError, match=r"label_smoothing: got 0\.1 with loss 'mse', want 0 or a cross-entropy loss"):
        fit(make(output="linear"), ANSWERS, label_smoothing=0.1)
