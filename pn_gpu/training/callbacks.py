"""What may look on, and stop, while a network trains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_choice, check_flag, check_integer, check_number
from pn_gpu.training.run import Callback, TrainingRun


class FunctionCallback(Callback):
    """A function called with the run at the end of every epoch."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def on_epoch_end(self, run: TrainingRun) -> None:
        self.function(run)


class EarlyStopping(Callback):
    """Stop when a measurement has not got better for some epochs.

    Parameters
    ----------
    monitor : {"val_loss", "val_accuracy", "loss", "accuracy"}, default "val_loss"
    patience : int, default 5
        Epochs without improvement after which training stops; at least 1.
    min_delta : float, default 0
        The least change that counts as an improvement; at least 0.
    restore_best : bool, default True
        Whether the network gets the parameters of its best epoch at the end.
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        self.monitor = check_choice("monitor", monitor, ("val_loss", "val_accuracy", "loss", "accuracy"))
        self.patience = check_integer("patience", patience, low=1)
        self.min_delta = check_number("min_delta", min_delta, low=0)
        self.restore_best = check_flag("restore_best", restore_best)
        self._reset()

    def _reset(self) -> None:
        self._best = math.inf
        self._waited = 0
        self._parameters: Any = None

    def on_train_begin(self, run: TrainingRun) -> None:
        if self.monitor.startswith("val_") and run.validation is None:
            raise ValueError(f"monitor: got {self.monitor!r}, but fit has no validation_data")
        if self.monitor.endswith("accuracy") and not run.network.is_classifier:
            raise ValueError(
                f"monitor: got {self.monitor!r}, but the network is no classifier; want 'loss' or 'val_loss'"
            )
        if run.epoch == 0:
            self._reset()

    def on_epoch_end(self, run: TrainingRun) -> None:
        value = run.history.last[self.monitor]
        score = -value if self.monitor.endswith("accuracy") else value
        if score < self._best - self.min_delta:
            self._best, self._waited = score, 0
            if self.restore_best:
                self._parameters = to_numpy(run.network.parameters.flat).copy()
            return
        self._waited += 1
        if self._waited >= self.patience:
            run.stop(f"{self.monitor} did not improve for {self.patience} epochs")

    def on_train_end(self, run: TrainingRun) -> None:
        if self.restore_best and self._parameters is not None:
            run.network.parameters.flat[:] = run.network.backend.asarray(self._parameters)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"monitor": self.monitor, "best": self._best, "waited": self._waited}
        return state if self._parameters is None else state | {"parameters": self._parameters}

    def set_state(self, state: dict[str, Any]) -> None:
        if state.get("monitor", self.monitor) != self.monitor:
            raise ValueError(f"EarlyStopping watched {state['monitor']!r}, and is to watch {self.monitor!r} now")
        self._best, self._waited = float(state["best"]), int(state["waited"])
        self._parameters = state.get("parameters")

    def on_resume(self, run: TrainingRun) -> None:
        best, flat = self._parameters, to_numpy(run.network.parameters.flat)
        if best is None:
            return
        if not isinstance(best, np.ndarray) or best.shape != flat.shape or best.dtype != flat.dtype:
            raise ValueError(f"EarlyStopping: the best parameters are no array of shape {flat.shape}, {flat.dtype}")


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Callbacks and functions, or one of them, as callbacks; TypeError for anything else."""
    if isinstance(callbacks, Callback) or callable(callbacks):
        callbacks = [callbacks]
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: got {callbacks!r}, want Callback objects or functions of the run")
    result: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, Callback):
            result.append(callback)
        elif callable(callback) and not isinstance(callback, type):
            result.append(FunctionCallback(callback))
        else:
            raise TypeError(f"callbacks: got {callback!r}, want Callback objects or functions of the run")
    return result
