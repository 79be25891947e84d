"""Examples that count differently, and examples set aside."""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.training.weighted_examples import as_examples, check_sample_weight, set_aside

RNG = np.random.default_rng(3)
X = RNG.standard_normal((60, 4))
LABELS = RNG.integers(0, 3, 60)
TARGETS = RNG.standard_normal((60, 2))
COUNTS = RNG.integers(0, 4, 60)


def classifier(**options):
    return pn.ParticleNetwork([4, 6, 3], **({"seed": 0, "backend": "numpy", "dtype": "float64"} | options))


def regression(loss):
    return pn.ParticleNetwork([4, 6, 2], output="linear", loss=loss, seed=0, backend="numpy", dtype="float64")


def binary():
    return pn.ParticleNetwork([4, 6, 2], output="sigmoid", seed=0, backend="numpy", dtype="float64")


def fit(network, y, rows=slice(None), **options):
    # One step an epoch of all rows, so that repeating a row and weighing it are the same sums.
    return network.fit(X[rows], y[rows], epochs=5, batch_size=1000, shuffle=False, optimizer=pn.SGD(0.05), **options)


@pytest.mark.parametrize(
    ("make", "y"),
    [
        (classifier, LABELS),
        (lambda: classifier(output="sigmoid", loss="categorical_crossentropy"), LABELS),
        (binary, (TARGETS > 0).astype(float)),
        (lambda: regression("mse"), TARGETS),
        (lambda: regression("mae"), TARGETS),
    ],
)
@pytest.mark.parametrize("scale", [1, 1000.0])
def test_a_weight_is_a_number_of_repetitions(make, y, scale):
    repeated, weighted = make(), make()
    rows = np.repeat(np.arange(60), COUNTS)
    want = fit(repeated, y, rows)
    got = fit(weighted, y, sample_weight=scale * COUNTS)
    np.testing.assert_allclose(weighted.parameters.flat, repeated.parameters.flat, rtol=1e-10, atol=1e-12)
    assert got["loss"] == pytest.approx(want["loss"], rel=1e-10)
    if "accuracy" in want:
        assert got["accuracy"] == pytest.approx(want["accuracy"], rel=1e-10)


def test_the_weighted_loss_over_small_batches():
    weights = RNG.uniform(0, 2, 60)
    network = classifier()
    still = network.fit(X, LABELS, epochs=1, batch_size=7, optimizer=pn.SGD(1e-300), sample_weight=weights)
    y = network.predict_proba(X)
    losses = -np.log(y[np.arange(60), LABELS])
    assert still["loss"][0] == pytest.approx(np.average(losses, weights=weights), rel=1e-12)
    assert still["accuracy"][0] == pytest.approx(np.average(y.argmax(axis=1) == LABELS, weights=weights), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "y"),
    [(classifier, LABELS), (binary, (TARGETS > 0).astype(float)), (lambda: regression("mse"), TARGETS)],
)
def test_an_evaluation_counts_as_repetitions_do(make, y):
    network, rows = make(), np.repeat(np.arange(60), COUNTS)
    got = network.evaluate(X, y, batch_size=7, sample_weight=3.0 * COUNTS)
    assert got == pytest.approx(network.evaluate(X[rows], y[rows]), rel=1e-12)
    assert got["loss"] != pytest.approx(network.evaluate(X, y)["loss"], rel=1e-3)
    with pytest.raises(ValueError, match=r"sample_weight: got shape \(3,\), want \[60\]"):
        network.evaluate(X, y, sample_weight=np.ones(3))


def test_equal_weights_change_nothing():
    plain, weighted = classifier(), classifier()
    fit(plain, LABELS)
    fit(weighted, LABELS, sample_weight=np.full(60, 4.0))
    np.testing.assert_array_equal(plain.parameters.flat, weighted.parameters.flat)


def test_weights_of_classes():
    by_class, by_sample, balanced, by_count = (classifier() for _ in range(4))
    fit(by_class, LABELS, class_weight={0: 2.0, 2: 0.5}, sample_weight=COUNTS)
    fit(by_sample, LABELS, sample_weight=np.array([2.0, 1.0, 0.5])[LABELS] * COUNTS)
    np.testing.assert_array_equal(by_class.parameters.flat, by_sample.parameters.flat)
    fit(balanced, LABELS, class_weight="balanced")
    fit(by_count, np.eye(3)[LABELS], sample_weight=1 / np.bincount(LABELS)[LABELS])
    np.testing.assert_allclose(balanced.parameters.flat, by_count.parameters.flat, rtol=1e-10, atol=1e-12)


def test_a_part_set_aside():
    network = classifier()
    examples = as_examples(network, X, LABELS, COUNTS + 1.0)
    train, validation = set_aside(examples, 0.25, network)
    assert (train.x.shape[0], validation.x.shape[0]) == (45, 15)
    together = np.concatenate([train.x, validation.x])
    np.testing.assert_array_equal(together[np.lexsort(together.T)], X[np.lexsort(X.T)])
    for part in (train, validation):
        assert part.weights.mean() == pytest.approx(1)
        rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in part.x]
        np.testing.assert_array_equal(part.y, LABELS[rows])
        np.testing.assert_allclose(part.weights / part.weights[0], (COUNTS + 1)[rows] / (COUNTS + 1)[rows[0]])
    assert np.abs(np.diff([int(np.flatnonzero((row == X).all(axis=1))[0]) for row in validation.x])).max() > 1


def test_validation_split_and_validation_data_measure_the_same():
    split, given = classifier(), classifier()
    train, validation = set_aside(as_examples(split, X, LABELS, COUNTS + 1.0), 0.2, split)
    got = split.fit(X, LABELS, epochs=3, seed=1, validation_split=0.2, sample_weight=COUNTS + 1.0)
    want = given.fit(train.x, train.y, epochs=3, seed=1, validation_data=validation, sample_weight=train.weights)
    assert got["val_loss"] == pytest.approx(want["val_loss"], rel=1e-12)
    assert got["loss"] == pytest.approx(want["loss"], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sample_weight": np.ones(59)}, ValueError, r"sample_weight: got shape \(59,\), want \[60\]"),
        ({"sample_weight": -np.ones(60)}, ValueError, "sample_weight: got values that are negative"),
        ({"sample_weight": np.full(60, np.nan)}, ValueError, "sample_weight: got values that are negative, NaN"),
        ({"sample_weight": np.zeros(60)}, ValueError, "sample_weight: got zeros only"),
        ({"sample_weight": ["a"] * 60}, TypeError, "sample_weight: got dtype"),
        ({"class_weight": "equal"}, TypeError, "class_weight: got 'equal', want 'balanced' or a mapping"),
        ({"class_weight": {3: 1.0}}, ValueError, "class_weight: a label: got 3, want a whole number >= 0 and <= 2"),
        ({"class_weight": {0: -1.0}}, ValueError, r"class_weight\[0\]: got -1.0"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, ValueError, "class_weight: every example has weight 0"),
        ({"validation_split": 1.5}, ValueError, "validation_split: got 1.5"),
        ({"validation_split": 0.001}, ValueError, "validation_split: got 0.001 of 60 examples, want at least one"),
        ({"validation_split": 0.1, "validation_data": (X, LABELS)}, ValueError, "validation_split: got it beside"),
    ],
)
def test_bad_weights(options, error, message):
    with pytest.raises(error, match=message):
        classifier().fit(X, LABELS, **options)


def test_where_weights_do_not_apply():
    with pytest.raises(ValueError, match="class_weight: got weights of classes, but the network has no softmax"):
        regression("mse").fit(X, TARGETS, class_weight="balanced")
    with pytest.raises(ValueError, match="sample_weight: got it with an iterable of batches"):
        classifier().fit([(X, LABELS)], sample_weight=np.ones(60))
    assert check_sample_weight([1, 0, 2], 3).dtype == np.float64
