"""A Particle Network as a regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from pn_gpu.data.target_coding import Numbers
from pn_gpu.sklearn.base import DTYPES, Array, ParticleEstimator, name_of_column


class ParticleRegressor(RegressorMixin, ParticleEstimator):
    """A Particle Network with linear outputs, trained on squared errors.

    Parameters
    ----------
    hidden : int or sequence of int, default 64
        Nodes of the hidden layers, inputs' side first; () for none.
    dim : int, default 2
        Dimensions of the particles' positions.
    dipole_dim : int, "auto" or None, default "auto"
        Of their dipoles; auto: 4, or 8 for two outputs or more and fewer than 10,000 examples; None: ``dim``.
    activation : str, default "leaky_relu"
        Of the hidden layers.
    initialisation, potential, method, rtol, dropout, backend
        As in `pn_gpu.ParticleNetwork`.
    shared : bool, default False
        Whether the output particles of a layer are the input particles of the next.
    scale : bool, default True
        Whether inputs and targets are standardised, by what the examples of `fit` say (those of the first
        `partial_fit`).
    epochs : int, default 50
    batch_size : int or "auto", default "auto"
        auto: 32 below 10,000 examples, else 100.
    lr : float, default 0.02
        Peak learning rate of Adam's one cycle; `partial_fit` has a constant rate, half of it.
    l2 : float or "auto", default "auto"
        Strength of a `pn_gpu.L2` penalty on dipoles. auto: below 10,000 examples 0.001, else 0; 0 with
        `partial_fit`.
    early_stopping : bool, default False
        Whether to set aside ``validation_fraction`` of the examples, stop when their loss
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

    Attributes
    ----------
    network_ : ParticleNetwork
        Of scaled inputs, with an output for every scaled target. ``network_.save(path)`` writes it with both scalings,
        so that ``pn-gpu predict`` and `pn_gpu.data.predict` take tables as `fit` took them.
    scaler_, target_scaler_ : StandardScaler or None
    history_ : History
        Of the last `fit` or `partial_fit`.
    n_iter_ : int
        Epochs of it.
    n_outputs_ : int
    n_features_in_ : int
    feature_names_in_ : array of str
        Where X has names of columns.
    """

    target_scaler_: StandardScaler | None

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ParticleRegressor:
        """Train on examples X [B, N] with targets y [B] or [B, K].

        Parameters
        ----------
        X : array or DataFrame, [B, N]
        y : array, [B] or [B, K]
        sample_weight : array [B], optional
            How much every example counts, at least 0: 2 is as much as an example that comes twice.

        Raises
        ------
        ValueError, TypeError
            If a parameter, shapes or values do not fit.
        """
        self._check_parameters()
        goes_on = self.warm_start and hasattr(self, "network_")
        X, targets, weights = self._prepare(X, y, sample_weight, is_first=not goes_on, is_all=True)
        self._train(X, targets, weights, stratify=None)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> ParticleRegressor:
        """Go once through some more examples, at a constant learning rate; arguments as in `fit`."""
        self._check_parameters()
        X, targets, weights = self._prepare(X, y, sample_weight, not hasattr(self, "network_"), is_all=False)
        self._train_once(X, targets, weights)
        return self

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, is_first: bool, is_all: bool
    ) -> tuple[Array, Array, Array | None]:
        """Checked inputs, scaled targets [B, K] and weights; the first time a network is made for them.

        ``is_all`` says that no further examples will come.
        """
        target = name_of_column(y)
        X, y = validate_data(self, X, y, dtype=DTYPES, multi_output=True, y_numeric=True, reset=is_first)
        weights = self._check_weights(X, sample_weight)
        columns = y[:, None] if y.ndim == 1 else y
        if is_first:
            self._is_column = y.ndim == 2
            self.n_outputs_ = columns.shape[1]
            self.target_scaler_ = StandardScaler().fit(columns, sample_weight=weights) if self.scale else None
            self._start(X, weights, self._target_coding(), target, "linear", len(X) if is_all else None)
        elif columns.shape[1] != self.n_outputs_:
            raise ValueError(f"y: got {columns.shape[1]} targets, want {self.n_outputs_} as before")
        targets = columns if self.target_scaler_ is None else self.target_scaler_.transform(columns)
        return X, targets, weights

    def _target_coding(self) -> Numbers:
        scaler = self.target_scaler_
        if scaler is None:
            return Numbers(np.zeros(self.n_outputs_), np.ones(self.n_outputs_))
        return Numbers(scaler.mean_, scaler.scale_)

    def predict(self, X: Any) -> Array:
        """The targets, [B] or [B, K] as y had them."""
        outputs = self._outputs(X)
        if self.target_scaler_ is not None:
            outputs = self.target_scaler_.inverse_transform(outputs)
        return outputs if self._is_column else outputs[:, 0]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
