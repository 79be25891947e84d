"""The training loop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pn_gpu.checks import check_flag, check_integer
from pn_gpu.model.parameters import ParameterVector
from pn_gpu.model.passes import batch_gradient
from pn_gpu.model.penalties import Penalty
from pn_gpu.model.symmetries import remove_rotation, remove_translation
from pn_gpu.training.batches import ArrayBatches, Batches, IterableBatches, make_batches
from pn_gpu.training.callbacks import Callback, as_callbacks
from pn_gpu.training.checkpoint import restore_checkpoint, save_checkpoint
from pn_gpu.training.distributed import SingleProcess, sum_gradient
from pn_gpu.training.history import History
from pn_gpu.training.metrics import Accumulator
from pn_gpu.training.optimizers import Adam, Optimizer
from pn_gpu.training.progress import Progress
from pn_gpu.training.proportional_steps import ProportionalSteps, step_scales
from pn_gpu.training.schedules import OneCycle

if TYPE_CHECKING:
    from pn_gpu.model.network import Network

Array = Any

# Reading a loss back from a device makes the host wait for it; on the host it costs nothing.
STEPS_BETWEEN_LOSS_CHECKS_ON_DEVICE = 50


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite."""


def fit(
    network: Network,
    x: Any,
    y: Array | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 100,
    optimizer: Optimizer | None = None,
    validation_data: tuple[Array, Array] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    penalties: Sequence[Penalty] = (),
    remove_mean_translation: bool = True,
    remove_mean_rotation: bool = False,
    callbacks: Sequence[Any] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    progress: bool | None = None,
    processes: SingleProcess | None = None,
) -> History:
    """Train a network.

    A `ParticleNetwork` with scaled initialisation whose parameters are still those drawn is first calibrated
    (`ParticleNetwork.calibrate`) on the first batch; where this cannot tell (one row, or all the same) it starts as its
    formula says. A resumed run is not calibrated again.

    Ctrl-C ends training after the step at hand: the history says "interrupted", the network keeps what it has learnt
    and the last checkpoint stays as it is.

    Parameters
    ----------
    network : Network
    x : array [B, N], or an iterable of (x, y) batches
        An iterable is gone through once every epoch.
    y : array, optional
        Labels [B] (whole numbers from 0) or targets [B, M]; None with an iterable.
    epochs : int, default 10
        Epochs of the whole run, those before a resume included.
    batch_size : int, default 100
    optimizer : Optimizer, default Adam(OneCycle(0.02))
    validation_data : (x, y), optional
        Evaluated after every epoch.
    shuffle : bool, default True
        Whether examples come in a new order every epoch.
    seed : int or None, default None
        Of shuffling and dropout. One seed gives the same run bit for bit on one machine; None draws a fresh one.
    penalties : sequence of Penalty, default ()
        Terms added to the loss; the recorded loss does not count them.
    remove_mean_translation, remove_mean_rotation : bool, default True and False
        Take out of the gradient what would only move, or turn, all particles together (the paper does the first).
    callbacks : sequence of Callback or function, default ()
    checkpoint : path, optional
        A file written after every ``checkpoint_every`` epochs and at the end, whole or not at all.
    checkpoint_every : int, default 1
    resume : bool, default False
        Continue the run in ``checkpoint`` exactly, if the file exists; else start afresh.
    progress : bool or None, default None
        Whether to show a bar; None shows it on a terminal.
    processes : SingleProcess, optional
        For data-parallel training: what `pn_gpu.training.distributed` found.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If data or settings do not fit.
    TrainingDiverged
        If the loss becomes NaN or infinite; the network is back where its last good epoch left it.
    """
    check_integer("epochs", epochs, low=1)
    check_integer("batch_size", batch_size, low=1)
    check_integer("checkpoint_every", checkpoint_every, low=1)
    if check_flag("resume", resume) and checkpoint is None:
        raise ValueError("resume: got True without a checkpoint; want the file to resume from")
    if optimizer is None:
        optimizer = Adam(OneCycle(0.02))
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {optimizer!r}, want an Optimizer such as Adam(lr=0.02)")
    for penalty in penalties:
        if not isinstance(penalty, Penalty):
            raise TypeError(f"penalties: got {penalty!r}, want Penalty objects such as L2(dipoles=1e-4)")
    processes = processes or SingleProcess()
    run = TrainingRun(
        network,
        make_batches(network, x, y, batch_size, check_flag("shuffle", shuffle), processes.rank, processes.size),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        rng=np.random.default_rng(None if seed is None else check_integer("seed", seed, low=0)),
        validation=_check_validation(network, validation_data),
        penalties=penalties,
        remove_mean_translation=check_flag("remove_mean_translation", remove_mean_translation),
        remove_mean_rotation=check_flag("remove_mean_rotation", remove_mean_rotation),
        callbacks=as_callbacks(callbacks),
        processes=processes,
    )
    if resume and checkpoint is not None and Path(checkpoint).exists():
        restore_checkpoint(run, checkpoint)
    run.train(progress, None if processes.rank else checkpoint, checkpoint_every)
    return run.history


def _check_validation(network: Network, data: Any) -> tuple[Array, Array] | None:
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"validation_data: got {type(data).__name__}, want a pair (x, y)")
    try:
        x = network._as_input(data[0])
        y = network._as_targets(data[1], x.shape[0])
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from error
    if x.shape[0] == 0:
        raise ValueError("validation_data: got no examples, want at least one")
    return x, y


class TrainingRun:
    """A training run: the network, the optimiser's state, the random state, and how far it has come.

    Callbacks get it; ``network``, ``history``, ``epoch`` (epochs done), ``step`` (steps done) and `stop` are for them.
    """

    def __init__(
        self,
        network: Network,
        batches: Batches,
        *,
        optimizer: Optimizer,
        epochs: int,
        batch_size: int,
        rng: np.random.Generator,
        validation: tuple[Array, Array] | None,
        penalties: Sequence[Penalty],
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
        self.rng = rng
        self.validation = validation
        self.penalties = tuple(penalties)
        self.remove_mean_translation = remove_mean_translation
        self.remove_mean_rotation = remove_mean_rotation
        self.callbacks = callbacks
        self.processes = processes
        self.history = History()
        self.optimizer_state = optimizer.start(network.parameters.flat)
        self.steps = ProportionalSteps(network, {})
        self.epoch = 0
        self.step = 0
        knows_length = batches.num_examples is not None or optimizer.lr.needs_length
        self._num_steps = len(batches) * epochs if knows_length else 0

    @property
    def stateful_callbacks(self) -> list[Callback]:
        """The callbacks that a checkpoint has to hold; those that only look on may come and go."""
        return [callback for callback in self.callbacks if callback.state()]

    def settings(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued."""
        settings: dict[str, Any] = {
            "optimizer": repr(self.optimizer),
            "batch_size": self.batch_size,
            "examples": self.batches.num_examples,
            "callbacks": [type(callback).__name__ for callback in self.stateful_callbacks],
        }
        # A schedule spans the whole run: another number of epochs would bend it.
        return settings | {"epochs": self.epochs} if self.optimizer.lr.needs_length else settings

    def stop(self, reason: str) -> None:
        """Let this epoch be the last."""
        self.history.stop_reason = reason

    def train(
        self,
        progress: bool | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
    ) -> None:
        """Train up to the last epoch, or until somebody stops it."""
        for callback in self.callbacks:
            callback.on_train_begin(self)
        bar = Progress(False if self.processes.rank else progress, self._num_steps or None, self.step, self.epochs)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # a diverging loss gets a message of its own
                while self.epoch < self.epochs and not self.history.stop_reason:
                    self._train_epoch(bar)
                    last = self.epoch == self.epochs or bool(self.history.stop_reason)
                    if checkpoint is not None and (last or self.epoch % checkpoint_every == 0):
                        save_checkpoint(self, checkpoint)
            self.history.stop_reason = self.history.stop_reason or "finished"
        except KeyboardInterrupt:
            self.history.stop_reason = "interrupted"
            bar.say(f"interrupted in epoch {self.epoch + 1}; the network keeps what it has learnt")
        finally:
            bar.close()
            for callback in self.callbacks:
                callback.on_train_end(self)

    def _train_epoch(self, bar: Progress) -> None:
        started = time.perf_counter()
        before = self.network.copy().parameters.flat
        for layer in self.network.layers_in_order:
            layer.forget_plan()  # so that an epoch does not depend on those before it, and a resumed run is exact
        metrics = Accumulator(self.network)
        lr = 0.0
        if self.step == 0 and isinstance(self.batches, ArrayBatches):
            self._prepare(self.batches.first_inputs(self.rng))
        for x, targets, num_rows in self.batches.epoch(self.rng):
            if self.step == 0 and isinstance(self.batches, IterableBatches):
                self._prepare(x)
            lr = self.optimizer.lr(self.step, self._num_steps)
            loss = self._train_step(x, targets, num_rows, lr, metrics)
            if self._due_for_check() and not math.isfinite(float(loss)):
                self._diverged(before, lr)
            self.step += 1
            bar.step()
        measurements = metrics.result(self.processes)
        if not math.isfinite(measurements["loss"]):
            self._diverged(before, lr)
        if self.validation is not None:
            measurements |= {f"val_{name}": value for name, value in self.network.evaluate(*self.validation).items()}
        self.epoch += 1
        self.history.append(measurements | {"lr": lr, "seconds": time.perf_counter() - started})
        bar.epoch(self.epoch, measurements)
        for callback in self.callbacks:
            callback.on_epoch_end(self)

    def _prepare(self, first_inputs: Array) -> None:
        """Before the first step of a fresh run: give the network its start, and find the sizes of steps."""
        self.network.prepare_training(first_inputs)
        scales = step_scales(self.network.parameter_sizes(), len(self.network.layers_in_order))
        self.steps = ProportionalSteps(self.network, scales)

    def _due_for_check(self) -> bool:
        return self.network.backend.on_host or self.step % STEPS_BETWEEN_LOSS_CHECKS_ON_DEVICE == 0

    def _train_step(self, x: Array, targets: Array, num_rows: int, lr: float, metrics: Accumulator) -> Array:
        """One update from this process's part of a batch of ``num_rows``; returns the part's loss."""
        network = self.network
        loss, gradient = self._part_gradient(x, targets, metrics)
        gradient.flat = sum_gradient(self.processes, gradient.flat * (x.shape[0] / num_rows), network.backend)
        for penalty in self.penalties:
            loss = loss + penalty.add(network, gradient)
        if self.remove_mean_translation:
            remove_translation(network, gradient)
        if self.remove_mean_rotation:
            remove_rotation(network, gradient)
        self.steps.update(self.optimizer, network.parameters.flat, gradient.flat, self.optimizer_state, lr, self.step)
        return loss

    def _part_gradient(self, x: Array, targets: Array, metrics: Accumulator) -> tuple[Array, ParameterVector]:
        network = self.network
        if x.shape[0] == 0:  # more processes than rows in a last, small batch
            zeros = network.backend.zeros(network.num_parameters, network.dtype)
            return network.backend.zeros((), network.dtype), ParameterVector(network.parameters.layout, zeros)
        loss, gradient, outputs = batch_gradient(network, x, targets, self.rng)
        metrics.add(loss, outputs, targets)
        return loss, gradient

    def _diverged(self, before: Array, lr: float) -> None:
        self.network.parameters.flat[:] = before
        raise TrainingDiverged(
            f"the loss became NaN or infinite in epoch {self.epoch + 1}, step {self.step + 1}, at a learning rate of"
            f" {lr:.3g}; the network is back at the end of epoch {self.epoch}."
            " Try a lower learning rate, or scale the inputs"
        )
