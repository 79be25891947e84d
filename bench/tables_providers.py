"""What is trained on a table: particle networks as the command line makes them, and scikit-learn's perceptron."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.cli.main import make_parser
from pn_gpu.cli.network_options import make_network
from pn_gpu.cli.train import fit_options
from pn_gpu.data import Dataset
from pn_gpu.data.scores import regression_scores
from pn_gpu.data.target_coding import Numbers


@dataclass(frozen=True)
class Score:
    """What one provider reached on one split of a table: accuracy (0 to 1) or R2 on the rows held back."""

    data: str
    measure: str
    provider: str
    seed: int
    score: float
    parameters: int
    seconds: float


Measured = tuple[float, int, float]
Provider = Callable[[Dataset, Dataset, int], "Measured | None"]
"""Of the table standardised, and as it stands but for words and gaps; the score on the rows held back."""


def _score(dataset: Dataset, predicted: Any) -> float:
    """Of class numbers [B], or of outputs [B, K] as the data set has its targets."""
    targets = dataset.preprocessing.targets
    if isinstance(targets, Numbers):
        return regression_scores(targets, dataset.y_test, np.asarray(predicted)).r2
    return float((np.asarray(predicted) == dataset.y_test).mean())


def _command(*arguments: str) -> Provider:
    """What `pn-gpu train --data TABLE --target ...` trains, with further arguments."""

    def train(scaled: Dataset, plain: Dataset, seed: int) -> Measured:
        options = make_parser().parse_args(["train", "--seed", str(seed), *arguments])
        start = time.perf_counter()
        network = make_network(options, scaled)
        network.fit(scaled.x_train, scaled.y_train, progress=False, **fit_options(options, scaled))
        seconds = time.perf_counter() - start
        return _score(scaled, to_numpy(network.predict(scaled.x_test))), network.num_parameters, seconds

    return train


def _perceptron(scale_inputs: bool, scale_targets: bool = False) -> Provider:
    """scikit-learn's MLPClassifier() or MLPRegressor(), all else by default."""

    def train(scaled: Dataset, plain: Dataset, seed: int) -> Measured | None:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        is_regression = plain.num_classes is None
        if scale_targets and not is_regression:
            return None
        perceptron = (MLPRegressor if is_regression else MLPClassifier)(random_state=seed)
        model = make_pipeline(StandardScaler(), perceptron) if scale_inputs else perceptron
        if scale_targets:
            model = TransformedTargetRegressor(model, transformer=StandardScaler())
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 200 epochs, the default, were not enough
            model.fit(plain.x_train, plain.y_train.ravel())
        seconds = time.perf_counter() - start
        fitted = model.regressor_ if scale_targets else model
        fitted = fitted[-1] if scale_inputs else fitted
        count = sum(array.size for array in (*fitted.coefs_, *fitted.intercepts_))
        predicted = model.predict(plain.x_test)
        return _score(plain, predicted[:, None] if is_regression else predicted), count, seconds

    return train


def _estimator(scaled: Dataset, plain: Dataset, seed: int) -> Measured:
    """ParticleClassifier() or ParticleRegressor(), which scale inputs and targets themselves."""
    from pn_gpu.sklearn import ParticleClassifier, ParticleRegressor

    is_regression = plain.num_classes is None
    model = (ParticleRegressor if is_regression else ParticleClassifier)(random_state=seed)
    start = time.perf_counter()
    model.fit(plain.x_train, plain.y_train.ravel())
    seconds = time.perf_counter() - start
    predicted = model.predict(plain.x_test)
    return (
        _score(plain, predicted.reshape(-1, 1) if is_regression else predicted),
        model.network_.num_parameters,
        seconds,
    )


COMMAND, ESTIMATOR = "pn-gpu train", "ParticleClassifier() or ParticleRegressor()"

PROVIDERS: dict[str, Provider] = {
    COMMAND: _command(),
    ESTIMATOR: _estimator,
    "pn-gpu train --model dense": _command("--model", "dense"),
    "scikit-learn MLP, inputs scaled": _perceptron(scale_inputs=True),
    "scikit-learn MLP": _perceptron(scale_inputs=False),
    "scikit-learn MLP, inputs and targets scaled": _perceptron(scale_inputs=True, scale_targets=True),
}

OURS, RIVAL = (COMMAND, ESTIMATOR), "scikit-learn MLP, inputs scaled"
