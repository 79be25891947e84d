"""Particle Networks among scikit-learn's tools: what a person does with an estimator."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_iris, make_friedman1
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import pn_gpu as pn
from pn_gpu.cli import main
from pn_gpu.data import predict
from pn_gpu.sklearn import ParticleClassifier, ParticleRegressor

IRIS = load_iris()
X, Y = IRIS.data, IRIS.target_names[IRIS.target]
RNG = np.random.default_rng(0)
QUICK = {"epochs": 30, "random_state": 0}


def test_defaults_are_good_on_an_unscaled_table():
    data = load_breast_cancer()  # columns from 0.001 to 4254
    parts = train_test_split(data.data, data.target, test_size=0.3, random_state=0, stratify=data.target)
    x_train, x_test, y_train, y_test = parts
    assert ParticleClassifier(random_state=0).fit(x_train, y_train).score(x_test, y_test) > 0.94
    unscaled = ParticleClassifier(random_state=0, scale=False).fit(x_train / 1000, y_train)
    assert unscaled.scaler_ is None


def test_defaults_are_good_on_unscaled_targets():
    x, y = make_friedman1(500, noise=1.0, random_state=0)  # R2 of the function without its noise: 0.96
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=0)
    factors, shift = 10.0 ** np.arange(-3, 7), 1000.0
    network = ParticleRegressor(random_state=0).fit(factors * (x_train + 5), 1e6 * (y_train + shift))
    assert network.score(factors * (x_test + 5), 1e6 * (y_test + shift)) > 0.85
    unscaled = TransformedTargetRegressor(ParticleRegressor(scale=False, random_state=0), transformer=StandardScaler())
    assert unscaled.fit(x_train, y_train).score(x_test, y_test) > 0.6


def test_labels_are_any_words():
    network = ParticleClassifier(**QUICK).fit(X, Y)
    assert network.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert set(network.predict(X)) == set(network.classes_)
    assert network.score(X, Y) > 0.95
    np.testing.assert_allclose(network.predict_proba(X).sum(axis=1), 1)
    with pytest.raises(ValueError, match="y: got examples of one class, 'setosa', want at least two"):
        ParticleClassifier().fit(X[:50], Y[:50])


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=IRIS.feature_names)
    network = ParticleClassifier(**QUICK).fit(frame, pandas.Series(Y))
    assert network.feature_names_in_.tolist() == IRIS.feature_names
    assert network.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names should match"):
        network.predict(frame.rename(columns={IRIS.feature_names[0]: "other"}))


def test_pipeline_grid_and_processes():
    pipeline = make_pipeline(MinMaxScaler(), ParticleClassifier(**QUICK))
    grid = GridSearchCV(pipeline, {"particleclassifier__hidden": [(), 16], "particleclassifier__dim": [2, 3]}, n_jobs=2)
    grid.fit(X, Y)
    assert grid.best_score_ > 0.9
    assert set(grid.best_params_) == {"particleclassifier__hidden", "particleclassifier__dim"}
    order = RNG.permutation(150)
    assert cross_val_score(ParticleRegressor(**QUICK), X[order, :3], X[order, 3], cv=3).min() > 0.8


@pytest.mark.parametrize("store", ["pickle", "joblib"])
def test_stored_and_read_again(store, tmp_path):
    network = ParticleClassifier(**QUICK).fit(X, Y)
    if store == "pickle":
        again = pickle.loads(pickle.dumps(network))
    else:
        joblib.dump(network, tmp_path / "network.joblib")
        again = joblib.load(tmp_path / "network.joblib")
    np.testing.assert_array_equal(again.predict_proba(X), network.predict_proba(X))
    assert again.get_params() == network.get_params()
    for each in (again, network):
        each.set_params(warm_start=True, epochs=2).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), network.predict_proba(X))


def test_the_network_can_be_saved_as_any(tmp_path):
    estimator = ParticleRegressor(**QUICK).fit(X[:, :3], X[:, 3])
    estimator.network_.save(tmp_path / "net.safetensors")
    outputs = pn.load(tmp_path / "net.safetensors", backend="numpy").predict(estimator.scaler_.transform(X[:, :3]))
    want = estimator.target_scaler_.inverse_transform(outputs)[:, 0]
    np.testing.assert_array_equal(estimator.predict(X[:, :3]), want)


@pytest.mark.parametrize("labels", [Y, IRIS.target + 4, IRIS.target == 1, IRIS.target.astype(str)])
@pytest.mark.parametrize("named", [True, False])
def test_a_saved_classifier_predicts_the_raw_table(labels, named, tmp_path, monkeypatch, capsys):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    frame = pandas.DataFrame(X, columns=[f"a{i}" for i in range(4)])
    given = frame if named else X
    estimator = ParticleClassifier(16, **QUICK).fit(given, pandas.Series(labels, name="kind") if named else labels)
    estimator.network_.save("net.safetensors")
    order = ["a2", "a0", "a3", "a1"] if named else list(frame)
    frame[order].assign(**({"kind": labels} if named else {})).to_csv("raw.csv", index=False)
    want = [str(label) for label in estimator.predict(given)]
    assert main(["predict", "net.safetensors", "--data", "raw.csv"]) == 0
    assert capsys.readouterr().out.split() == want
    network = pn.load("net.safetensors", backend="numpy")
    assert predict(network, X).tolist() == estimator.predict(given).tolist()
    np.testing.assert_allclose(predict(network, X, proba=True), estimator.predict_proba(given), rtol=1e-4, atol=1e-7)
    if named:
        assert main(["evaluate", "net.safetensors", "--data", "raw.csv"]) == 0
        assert f"accuracy {100 * estimator.score(given, labels):.2f} %" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("options", [{}, {"scale": False}])
def test_a_saved_regressor_predicts_the_raw_table(options, tmp_path, monkeypatch, capsys):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    estimator = ParticleRegressor(16, **QUICK, **options).fit(X[:, :3], frame["d"])
    estimator.network_.save("net.safetensors")
    frame.to_csv("raw.csv", index=False)
    assert main(["predict", "net.safetensors", "--data", "raw.csv"]) == 0
    captured = capsys.readouterr()
    np.testing.assert_allclose(np.array(captured.out.split(), float), estimator.predict(X[:, :3]), rtol=1e-4)
    assert "column 4 ('d'), the target in training, is left out" in captured.err
    # `partial_fit` makes a network that says as much.
    stream = ParticleRegressor(16, **options).partial_fit(frame[["a", "b"]], frame[["c", "d"]])
    again = pickle.loads(pickle.dumps(stream)).network_
    np.testing.assert_allclose(predict(again, "raw.csv"), stream.predict(frame[["a", "b"]]), rtol=1e-4)


def test_scores_are_weighted():
    weights = RNG.uniform(0, 2, 150)
    classifier = ParticleClassifier(epochs=2, random_state=0).fit(X, Y)
    right = classifier.predict(X) == Y
    assert classifier.score(X, Y, weights) == pytest.approx(np.average(right, weights=weights))
    regressor = ParticleRegressor(epochs=2, random_state=0).fit(X[:, :3], X[:, 3])
    want = r2_score(X[:, 3], regressor.predict(X[:, :3]), sample_weight=weights)
    assert regressor.score(X[:, :3], X[:, 3], sample_weight=weights) == pytest.approx(want)


def test_parameters_are_kept_as_given_and_cloned():
    network = ParticleClassifier((32, 16), dim=2, class_weight={"setosa": 2.0}, random_state=4)
    assert network.get_params()["hidden"] == (32, 16)
    assert clone(network).get_params() == network.get_params()
    assert network.fit(X, Y).network_.sizes == (4, 32, 16, 3)


def test_dipoles_by_default():
    assert ParticleClassifier(epochs=1).fit(X, Y).network_.dipole_dim == 8
    assert ParticleClassifier(epochs=1).fit(X[:100], Y[:100]).network_.dipole_dim == 8
    assert ParticleRegressor(epochs=1).fit(X, X[:, 0]).network_.dipole_dim == 4
    assert ParticleClassifier(dim=3, dipole_dim=None, epochs=1).fit(X, Y).network_.dipole_dim == 3


def test_one_random_state_is_one_network():
    one, same, other = (ParticleClassifier(epochs=3, dropout=0.1, random_state=seed).fit(X, Y) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    assert np.any(one.predict_proba(X) != other.predict_proba(X))
    assert ParticleClassifier(epochs=3).fit(X, Y).network_.seed != ParticleClassifier(epochs=3).fit(X, Y).network_.seed


def test_classes_weigh_the_same_when_balanced():
    # Two overlapping clouds, one twenty times as large: unweighted, nearly everything is said to be of it.
    x = np.concatenate([RNG.normal(0, 1, (1000, 1)), RNG.normal(1, 1, (50, 1))])
    y = np.repeat(["many", "few"], [1000, 50])
    plain, balanced, by_hand = (
        ParticleClassifier(8, class_weight=weights, **QUICK).fit(x, y).predict(x)
        for weights in (None, "balanced", {"few": 20.0})
    )
    assert np.mean(plain == "few") < 0.02
    assert 0.2 < np.mean(balanced == "few") < 0.5
    assert 0.2 < np.mean(by_hand == "few") < 0.5


def test_examples_of_no_weight_do_not_count():
    x = RNG.uniform(-1, 1, (300, 1))
    y = 2 * x[:, 0]
    spoilt = np.where(np.arange(300) % 3 == 0, 50.0, y)
    weights = (np.arange(300) % 3 != 0).astype(float)
    network = ParticleRegressor(16, epochs=60, random_state=0).fit(x, spoilt, sample_weight=weights)
    assert r2_score(y, network.predict(x)) > 0.98
    assert network.target_scaler_.mean_[0] == pytest.approx(y[weights > 0].mean())


def test_early_stopping_sets_examples_aside():
    noise = RNG.integers(0, 2, 300)  # nothing can be learnt of it, so the loss of the others soon gets worse
    x = RNG.standard_normal((300, 6))
    network = ParticleClassifier(epochs=200, early_stopping=True, patience=4, random_state=0).fit(x, noise)
    losses = network.history_["val_loss"]
    assert network.n_iter_ == len(losses) < 200
    assert network.n_iter_ == np.argmin(losses) + 5
    weighted = ParticleRegressor(epochs=3, early_stopping=True, random_state=0)
    assert "val_loss" in weighted.fit(x, x[:, 0], sample_weight=RNG.uniform(0.5, 1, 300)).history_


def test_warm_start_goes_on():
    network = ParticleClassifier(epochs=5, warm_start=True, random_state=0).fit(X, Y)
    first, scaler = network.network_, network.scaler_
    before = network.history_.last["loss"]
    network.fit(X, Y)
    assert network.network_ is first
    assert network.scaler_ is scaler
    assert network.history_["loss"][0] < 1.5 * before
    with pytest.raises(ValueError, match="y: with warm_start it must have the classes of before"):
        network.fit(X[:100], Y[:100])
    assert network.set_params(warm_start=False).fit(X, Y).network_ is not first


def test_partial_fit_learns_from_a_stream():
    network = ParticleClassifier(random_state=0)
    with pytest.raises(ValueError, match="classes: got None in the first call"):
        network.partial_fit(X, Y)
    for _ in range(60):
        rows = RNG.permutation(150)[:50]
        network.partial_fit(X[rows], Y[rows], classes=np.unique(Y))
    assert network.score(X, Y) > 0.9
    assert network.n_iter_ == 60
    assert len(pickle.dumps(network)) < 100_000  # without the examples
    with pytest.raises(ValueError, match=r"y: got labels \['rose'\], which are not among the classes"):
        network.partial_fit(X[:1], ["rose"])
    regressor = ParticleRegressor(random_state=0)
    for _ in range(60):
        rows = RNG.permutation(150)[:50]
        regressor.partial_fit(X[rows, :3], X[rows, 3])
    assert regressor.score(X[:, :3], X[:, 3]) > 0.8


def test_several_targets():
    network = ParticleRegressor(epochs=60, random_state=0).fit(X[:, :2], X[:, 2:] * [1, 1000])
    assert network.predict(X[:, :2]).shape == (150, 2)
    assert network.score(X[:, :2], X[:, 2:] * [1, 1000]) > 0.8
    column = ParticleRegressor(epochs=2).fit(X, X[:, :1])
    assert column.predict(X).shape == (150, 1)


def test_numbers_keep_their_precision():
    for dtype in (np.float32, np.float64):
        network = ParticleClassifier(epochs=2).fit(X.astype(dtype), Y)
        assert network.predict_proba(X.astype(dtype)).dtype == dtype
    assert ParticleClassifier(epochs=2, dtype="float32").fit(X, Y).network_.dtype == "float32"


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs: got 0"),
        ({"lr": -1}, ValueError, "lr: got -1"),
        ({"batch_size": "large"}, TypeError, "batch_size: got 'large'"),
        ({"scale": "yes"}, TypeError, "scale: got 'yes'"),
        ({"early_stopping": True, "validation_fraction": 1.0}, ValueError, "validation_fraction: got 1.0"),
        ({"hidden": (8, 0)}, ValueError, r"sizes\[2\]: got 0"),
        ({"activation": "step"}, ValueError, "activation: got 'step'"),
        ({"dipole_dim": "large"}, ValueError, "dipole_dim: got 'large'"),
        ({"dtype": "int8"}, ValueError, "dtype: got 'int8'"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        ParticleClassifier(**parameters).fit(X, Y)
