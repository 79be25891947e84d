"""A training run as it stands, and what may look on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pn_gpu.model.model import Model
from pn_gpu.training.batches import Batches
from pn_gpu.training.distributed import SingleProcess
from pn_gpu.training.history import History
from pn_gpu.training.optimizers import Optimizer
from pn_gpu.training.penalties import Penalty
from pn_gpu.training.proportional_steps import ProportionalSteps
from pn_gpu.training.weighted_examples import Examples

Array = Any


class TrainingRun:
    """A training run: the network, the optimiser's state, the random state, and how far it has come.

    Callbacks get it; ``network``, ``history``, ``epoch`` (epochs done), ``step`` (steps done of
    ``num_steps``, 0 if unknown), ``lr`` (learning rate of the last step) and `stop` are for them.
    """

    def __init__(
        self,
        network: Model,
        batches: Batches,
        *,
        optimizer: Optimizer,
        epochs: int,
        batch_size: int,
        seed: int | None,
        rng: np.random.Generator,
        validation: Examples | None,
        penalties: Sequence[Penalty],
        label_smoothing: float,
        remove_mean_translation: bool,
        remove_mean_rotation: bool,
        callbacks: list[Callback],
        processes: SingleProcess,
    ) -> None:
        self.network = network
        self.batches = batches
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.rng = rng
        self.validation = validation
        self.penalties = tuple(penalties)
        self.label_smoothing = label_smoothing
        self.remove_mean_translation = remove_mean_translation
        self.remove_mean_rotation = remove_mean_rotation
        self.callbacks = callbacks
        self.processes = processes
        self.history = History()
        self.optimizer_state = optimizer.start(network.parameters.flat)
        self.steps = ProportionalSteps(network, {})
        self.epoch = 0
        self.step = 0
        self.lr = 0.0
        knows_length = batches.num_examples is not None or optimizer.lr.needs_length
        self.num_steps = len(batches) * epochs if knows_length else 0

    @property
    def stateful_callbacks(self) -> list[Callback]:
        """The callbacks that a checkpoint has to hold; those that only look on may come and go."""
        return [callback for callback in self.callbacks if callback.state()]

    def settings(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued."""
        settings: dict[str, Any] = {
            "optimizer": repr(self.optimizer),
            "batch_size": self.batch_size,
            "label_smoothing": self.label_smoothing,
            "examples": self.batches.num_examples,
            "callbacks": [type(callback).__name__ for callback in self.stateful_callbacks],
            "dtype": self.network.dtype,
            "data": self.batches.fingerprint(),
            "validation_data": None if self.validation is None else self.validation.fingerprint(),
        }
        if self.seed is not None:
            settings["seed"] = self.seed
        # A schedule spans the whole run: another number of epochs would bend it.
        return settings | {"epochs": self.epochs} if self.optimizer.lr.needs_length else settings

    def stop(self, reason: str) -> None:
        """Let this epoch be the last."""
        self.history.stop_reason = reason


class Callback:
    """Base of callbacks: override what is of interest. ``run.network``, ``run.history`` and ``run.stop(reason)`` serve.

    A plain function of the run may stand for a callback; it is called at the end of every epoch.
    """

    def on_train_begin(self, run: TrainingRun) -> None:
        """Before the first epoch (of a resumed run too)."""

    def on_epoch_end(self, run: TrainingRun) -> None:
        """After every epoch's measurements, before its checkpoint."""

    def on_train_end(self, run: TrainingRun) -> None:
        """After the last epoch, also of an interrupted run."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold to resume this callback, by name.

        Numbers, strings, None and arrays, NumPy's scalars among them, and lists and mappings of such. A tuple comes
        back as a list, an array as NumPy's in C order.
        """
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave; ValueError or TypeError if it is of something else."""

    def on_resume(self, run: TrainingRun) -> None:
        """After `set_state`, before `on_train_begin`; ValueError if the state does not fit the run."""
