"""A Particle Network as a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from pn_gpu.checks import check_number
from pn_gpu.data.target_coding import Classes, own_words
from pn_gpu.sklearn.base import DTYPES, Array, ParticleEstimator, name_of_column
from pn_gpu.training.recipes import default_label_smoothing


class ParticleClassifier(ClassifierMixin, ParticleEstimator):
    """A Particle Network with a softmax output.

    Parameters
    ----------
    hidden : int or sequence of int, default 64
        Nodes of the hidden layers, inputs' side first; () for none.
    dim : int, default 2
        Dimensions of the particles' positions.
    dipole_dim : int, "auto" or None, default "auto"
        Of their dipoles; auto: 8 below 10,000 examples, else 4; None: ``dim``.
    activation : str, default "leaky_relu"
        Of the hidden layers.
    initialisation, potential, method, rtol, dropout, backend
        As in `pn_gpu.ParticleNetwork`.
    shared : bool, default False
        Whether the output particles of a layer are the input particles of the next.
    scale : bool, default True
        Whether inputs are standardised, by what the examples of `fit` say (those of the first
        `partial_fit`).
    epochs : int, default 50
    batch_size : int or "auto", default "auto"
        auto: 32 below 10,000 examples, else 100.
    lr : float, default 0.02
        Peak learning rate of Adam's one cycle; `partial_fit` has a constant rate, half of it.
    l2 : float or "auto", default "auto"
        Strength of a `pn_gpu.L2` penalty on dipoles. auto: below 10,000 examples 2 / their number (the sum of
        weights), else 0; 0 with `partial_fit`.
    label_smoothing : float or "auto", default "auto"
        The part of a label, 0 <= part < 1, that is shared out among all classes in training, so that probabilities
        stay below 1 - part + part / K. auto: 0.1 below 10,000 examples, else 0; 0 with `partial_fit`.
    early_stopping : bool, default False
        Whether to set aside ``validation_fraction`` of the examples, of every class alike, stop when their loss
        has not got better for ``patience`` epochs, and keep the best epoch's network.
    validation_fraction : float, default 0.1
    patience : int, default 10
    warm_start : bool, default False
        Whether a further `fit` goes on with the network there is, and its scaling.
    random_state : int, RandomState or None, default None
        Of the initial particles, shuffling, dropout and the validation examples.
    dtype : {"auto", "float32", "float64"}, default "auto"
        What is computed in; auto: the dtype of X if it is one of them, else float64.
    verbose : bool, default False
        Whether to show a bar of progress on a terminal.
    class_weight : mapping of label to weight, "balanced" or None, default None
        How much the examples of every class count; balanced: all classes the same.

    Attributes
    ----------
    classes_ : array, [K]
        The labels.
    network_ : ParticleNetwork
        Of scaled inputs, with an output for every label. ``network_.save(path)`` writes it with the scaling and the
        labels, so that ``pn-gpu predict`` and `pn_gpu.data.predict` take tables as `fit` took them.
    scaler_ : StandardScaler or None
    history_ : History
        Of the last `fit` or `partial_fit`.
    n_iter_ : int
        Epochs of it.
    n_features_in_ : int
    feature_names_in_ : array of str
        Where X has names of columns.
    """

    classes_: Array

    def __init__(
        self,
        hidden: int | Sequence[int] = 64,
        *,
        dim: int = 2,
        dipole_dim: int | str | None = "auto",
        initialisation: str = "scaled",
        activation: str = "leaky_relu",
        potential: str = "gaussian",
        method: str = "auto",
        rtol: float = 1e-3,
        shared: bool = False,
        dropout: float = 0.0,
        scale: bool = True,
        epochs: int = 50,
        batch_size: int | str = "auto",
        lr: float = 0.02,
        l2: float | str = "auto",
        label_smoothing: float | str = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        backend: str = "auto",
        dtype: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden,
            dim=dim,
            dipole_dim=dipole_dim,
            initialisation=initialisation,
            activation=activation,
            potential=potential,
            method=method,
            rtol=rtol,
            shared=shared,
            dropout=dropout,
            scale=scale,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            l2=l2,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            warm_start=warm_start,
            random_state=random_state,
            backend=backend,
            dtype=dtype,
            verbose=verbose,
        )
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ParticleClassifier:
        """Train on examples X [B, N] with labels y [B] of any kind.

        Parameters
        ----------
        X : array or DataFrame, [B, N]
        y : array, [B]
        sample_weight : array [B], optional
            How much every example counts, at least 0: 2 is as much as an example that comes twice.

        Raises
        ------
        ValueError, TypeError
            If a parameter, shapes or values do not fit, or there is but one class.
        """
        self._check_parameters()
        goes_on = self.warm_start and hasattr(self, "network_")
        target = name_of_column(y)
        X, y = validate_data(self, X, y, dtype=DTYPES, reset=not goes_on)
        y = _check_labels(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(f"y: got examples of one class, {classes.tolist()[0]!r}, want at least two classes")
        if goes_on and not np.array_equal(classes, self.classes_):
            raise ValueError(f"y: with warm_start it must have the classes of before, {self.classes_}, got {classes}")
        weights = self._weights(X, y, sample_weight)
        if not goes_on:
            self.classes_ = classes
            self._start(X, weights, Classes(own_words(classes)), target, "softmax", len(X))
        labels = np.searchsorted(classes, y)
        self._train(X, labels, weights, stratify=labels)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> ParticleClassifier:
        """Go once through some more examples, at a constant learning rate.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array [K], optional
            All labels there will be; needed in the first call.
        """
        self._check_parameters()
        is_first = not hasattr(self, "network_")
        target = name_of_column(y)
        X, y = validate_data(self, X, y, dtype=DTYPES, reset=is_first)
        y = _check_labels(y)
        if is_first:
            if classes is None:
                raise ValueError("classes: got None in the first call of partial_fit, want all labels there will be")
            all_classes = np.unique(classes)
        else:
            all_classes = self.classes_
            if classes is not None and not np.array_equal(np.unique(classes), all_classes):
                raise ValueError(f"classes: got {classes!r}, before they were {all_classes}")
        unknown = np.setdiff1d(y, all_classes)
        if len(unknown):
            raise ValueError(f"y: got labels {unknown}, which are not among the classes {all_classes}")
        weights = self._weights(X, y, sample_weight)
        if is_first:
            self.classes_ = all_classes
            self._start(X, weights, Classes(own_words(all_classes)), target, "softmax", num_examples=None)
        labels = np.searchsorted(all_classes, y)
        self._train_once(X, labels, weights)
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.label_smoothing != "auto":
            check_number("label_smoothing", self.label_smoothing, low=0, high=1, high_open=True)

    def _choose_label_smoothing(self, num_examples: int | None) -> float:
        if self.label_smoothing != "auto":
            return float(self.label_smoothing)
        return 0.0 if num_examples is None else default_label_smoothing("modern", num_examples, is_classification=True)

    def _weights(self, X: Array, y: Array, sample_weight: Any) -> Array | None:
        weights = self._check_weights(X, sample_weight)
        if self.class_weight is None:
            return weights
        of_class = compute_sample_weight(self.class_weight, y)
        return of_class if weights is None else weights * of_class

    def predict_proba(self, X: Any) -> Array:
        """The probability [B, K] of every class, in the order of ``classes_``."""
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> Array:
        """Its logarithm [B, K]."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> Array:
        """The most probable label [B] of every example."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


def _check_labels(y: Any) -> Array:
    check_classification_targets(y)
    return np.asarray(column_or_1d(y, warn=True))
