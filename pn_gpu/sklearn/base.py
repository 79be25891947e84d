"""What the classifier and the regressor share: their parameters, the scaling of inputs, and training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from pn_gpu.checks import check_choice, check_flag, check_integer, check_number
from pn_gpu.data import Preprocessing
from pn_gpu.data.input_coding import InputCoding
from pn_gpu.data.target_coding import TargetCoding
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.training.batches import ArrayBatches, IterableBatches
from pn_gpu.training.callbacks import EarlyStopping
from pn_gpu.training.distributed import SingleProcess
from pn_gpu.training.history import History
from pn_gpu.training.loop import train
from pn_gpu.training.optimizers import Adam
from pn_gpu.training.penalties import L2, Penalty
from pn_gpu.training.recipes import default_batch_size, default_dims, default_l2
from pn_gpu.training.run import TrainingRun
from pn_gpu.training.schedules import OneCycle
from pn_gpu.training.weighted_examples import as_examples

Array = np.ndarray[Any, Any]

DTYPES = (np.float64, np.float32)

# A stream has no end towards which the learning rate could fall, so `partial_fit` takes this part of the peak.
PARTIAL_FIT_RATE = 0.5


def name_of_column(y: Any) -> str | None:
    """What a pandas column is called, if it is one."""
    name = getattr(y, "name", None)
    return name if isinstance(name, str) else None


class ParticleEstimator(BaseEstimator):
    """A Particle Network that scales its inputs, with the manners of scikit-learn."""

    network_: ParticleNetwork
    history_: History
    scaler_: StandardScaler | None

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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        backend: str = "auto",
        dtype: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.dim = dim
        self.dipole_dim = dipole_dim
        self.initialisation = initialisation
        self.activation = activation
        self.potential = potential
        self.method = method
        self.rtol = rtol
        self.shared = shared
        self.dropout = dropout
        self.scale = scale
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.l2 = l2
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.random_state = random_state
        self.backend = backend
        self.dtype = dtype
        self.verbose = verbose

    def _check_parameters(self) -> None:
        """Errors that name the parameter, before any work."""
        check_integer("epochs", self.epochs, low=1)
        if self.batch_size != "auto":
            check_integer("batch_size", self.batch_size, low=1)
        check_number("lr", self.lr, low=0, low_open=True)
        if self.l2 != "auto":
            check_number("l2", self.l2, low=0)
        check_flag("scale", self.scale)
        check_flag("warm_start", self.warm_start)
        if check_flag("early_stopping", self.early_stopping):
            check_number("validation_fraction", self.validation_fraction, low=0, high=1, low_open=True, high_open=True)
            check_integer("patience", self.patience, low=1)
        check_choice("dtype", self.dtype, ("auto", "float32", "float64"))

    def _check_weights(self, X: Array, sample_weight: Any) -> Array | None:
        return None if sample_weight is None else _check_sample_weight(sample_weight, X, ensure_non_negative=True)

    def _start(
        self,
        X: Array,
        sample_weight: Array | None,
        targets: TargetCoding,
        target: str | None,
        output: str,
        num_examples: int | None,
    ) -> None:
        """Take the scale of the inputs and make a fresh network, whose file will say what was done to the data.

        ``num_examples`` is None where nobody knows how many there will be.
        """
        hidden = [*self.hidden] if isinstance(self.hidden, Iterable) else [self.hidden]
        self._stream: TrainingRun | None = None
        self.scaler_ = StandardScaler().fit(X, sample_weight=sample_weight) if self.scale else None
        self._random = check_random_state(self.random_state)
        self._strength = self._choose_l2(num_examples, sample_weight, is_classification=output == "softmax")
        self._label_smoothing = self._choose_label_smoothing(num_examples)
        self.network_ = ParticleNetwork(
            [X.shape[1], *hidden, targets.num_outputs],
            self.dim,
            dipole_dim=self._choose_dipole_dim(num_examples, targets.num_outputs),
            initialisation=self.initialisation,
            activation=self.activation,
            potential=self.potential,
            method=self.method,
            rtol=self.rtol,
            shared=self.shared,
            dropout=self.dropout,
            seed=self._draw_seed(),
            backend=self.backend,
            dtype=X.dtype.name if self.dtype == "auto" else self.dtype,
            output=output,
        )
        self.network_.preprocessing = Preprocessing(self._input_coding(X.shape[1]), targets, target)

    def _choose_dipole_dim(self, num_examples: int | None, num_outputs: int) -> int | None:
        if isinstance(self.dipole_dim, str):
            check_choice("dipole_dim", self.dipole_dim, ("auto",))
            return default_dims("modern", num_examples or 0, num_outputs)[1]
        return self.dipole_dim

    def _choose_l2(self, num_examples: int | None, sample_weight: Array | None, is_classification: bool) -> float:
        if self.l2 != "auto":
            return float(self.l2)
        if num_examples is None:
            return 0.0
        # An example of weight 2 is one that comes twice.
        count = num_examples if sample_weight is None else float(sample_weight.sum())
        return default_l2("modern", count, is_classification)

    def _choose_label_smoothing(self, num_examples: int | None) -> float:
        """Of a classifier; numbers have none."""
        return 0.0

    def _input_coding(self, width: int) -> InputCoding:
        """What `_inputs` does, as the network's file keeps it."""
        zeros, ones = np.zeros(width), np.ones(width)
        mean, scale = (zeros, ones) if self.scaler_ is None else (self.scaler_.mean_, self.scaler_.scale_)
        names = getattr(self, "feature_names_in_", None)
        return InputCoding(width, mean, scale, mean, None if names is None else (*names,), missing="refuse")

    def _draw_seed(self) -> int:
        return int(self._random.randint(np.iinfo(np.int32).max))

    def _inputs(self, X: Array) -> Array:
        """What the network is given for checked inputs."""
        return X if self.scaler_ is None else self.scaler_.transform(X)

    def _train(self, X: Array, targets: Array, sample_weight: Array | None, stratify: Array | None) -> None:
        """The whole training of ``fit``."""
        inputs = self._inputs(X)
        options: dict[str, Any] = {}
        weights = sample_weight
        if self.early_stopping:
            train, validation = train_test_split(
                np.arange(len(X)),
                test_size=self.validation_fraction,
                stratify=stratify,
                random_state=self._draw_seed(),
            )
            options = {
                "validation_data": (
                    inputs[validation],
                    targets[validation],
                    None if weights is None else weights[validation],
                ),
                "callbacks": EarlyStopping("val_loss", self.patience),
            }
            inputs, targets = inputs[train], targets[train]
            weights = None if weights is None else weights[train]
        self.history_ = self.network_.fit(
            inputs,
            targets,
            sample_weight=weights,
            epochs=self.epochs,
            batch_size=self._batch_size(len(inputs)),
            optimizer=Adam(OneCycle(self.lr)),
            penalties=self._penalties,
            label_smoothing=self._label_smoothing,
            progress=self._progress,
            **options,
        )
        self.n_iter_ = self.history_.num_epochs
        self._stream = None

    def _train_once(self, X: Array, targets: Array, sample_weight: Array | None) -> None:
        """One pass of ``partial_fit``: a further epoch of one training run, whose examples change."""
        network = self.network_
        batch_size = self._batch_size(len(X))
        examples = as_examples(network, self._inputs(X), targets, sample_weight)
        batches = ArrayBatches(network, examples, batch_size, shuffle=True)
        if self._stream is None:
            self._stream = TrainingRun(
                network,
                batches,
                optimizer=Adam(PARTIAL_FIT_RATE * self.lr),
                epochs=0,
                batch_size=batch_size,
                seed=network.seed,
                rng=network.next_generator(),
                validation=None,
                penalties=self._penalties,
                label_smoothing=self._label_smoothing,
                remove_mean_translation=True,
                remove_mean_rotation=False,
                callbacks=[],
                processes=SingleProcess(),
            )
        run = self._stream
        run.batches, run.epochs, run.history.stop_reason = batches, run.epochs + 1, ""
        train(run, self._progress)
        run.batches = IterableBatches(network, ())  # the examples are not kept, and not pickled
        self.history_ = run.history
        self.n_iter_ = run.epoch

    @property
    def _penalties(self) -> list[Penalty]:
        return [L2(dipoles=self._strength)] if self._strength else []

    @property
    def _progress(self) -> bool | None:
        return None if self.verbose else False

    def _batch_size(self, num_examples: int) -> int:
        return default_batch_size(num_examples) if self.batch_size == "auto" else int(self.batch_size)

    def _outputs(self, X: Any) -> Array:
        """The network's outputs [B, M] for inputs as a user gives them."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, dtype=DTYPES, reset=False)
        return np.asarray(self.network_.predict_proba(self._inputs(X)))
