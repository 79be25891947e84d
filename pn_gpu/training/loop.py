"""The training loop: epochs, steps, and what ends them."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.training.batches import Batch
from pn_gpu.training.checkpoint import save_checkpoint
from pn_gpu.training.metrics import Accumulator, evaluate
from pn_gpu.training.progress import Progress
from pn_gpu.training.proportional_steps import ProportionalSteps, step_scales
from pn_gpu.training.run import TrainingRun
from pn_gpu.training.step import StepResult, eager_step

Array = Any

# Reading a loss back from a device makes the host wait for it; on the host it costs nothing.
STEPS_BETWEEN_LOSS_CHECKS_ON_DEVICE = 50


Step = Callable[[TrainingRun, Batch], StepResult]


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite."""


def train(
    run: TrainingRun,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    step: Step = eager_step,
) -> None:
    """Train up to the last epoch, or until somebody stops it; ``step`` makes one step from a batch."""
    for callback in run.callbacks:
        callback.on_train_begin(run)
    bar = Progress(False if run.processes.rank else progress, run.num_steps or None, run.step, run.epochs)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging loss gets a message of its own
            while run.epoch < run.epochs and not run.history.stop_reason:
                _train_epoch(run, bar, step)
                last = run.epoch == run.epochs or bool(run.history.stop_reason)
                if checkpoint is not None and (last or run.epoch % checkpoint_every == 0):
                    _try_to_save(run, checkpoint)
        run.history.stop_reason = run.history.stop_reason or "finished"
    except KeyboardInterrupt:
        run.history.stop_reason = "interrupted"
        bar.say(f"interrupted in epoch {run.epoch + 1}; the network keeps what it has learnt")
    finally:
        bar.close()
        trained = to_numpy(run.network.parameters.flat).copy()
        for callback in run.callbacks:
            callback.on_train_end(run)
    ended = to_numpy(run.network.parameters.flat)
    if checkpoint is not None and run.history.stop_reason != "interrupted" and not np.array_equal(trained, ended):
        _try_to_save(run, checkpoint, trained)  # a callback chose other parameters than the last


def _try_to_save(run: TrainingRun, path: str | os.PathLike[str], trained: Array | None = None) -> None:
    """Save a checkpoint; if the disk is full, say so and let training go on."""
    try:
        save_checkpoint(run, path, trained)
    except OSError as error:
        warnings.warn(
            f"the checkpoint of epoch {run.epoch} could not be written ({error}); what was there before is kept",
            RuntimeWarning,
            stacklevel=2,
        )


def _train_epoch(run: TrainingRun, bar: Progress, step: Step) -> None:
    started = time.perf_counter()
    before = namespace_of(run.network.parameters.flat).asarray(run.network.parameters.flat, copy=True)
    for layer in run.network.connections:
        layer.forget_plan()  # so that an epoch does not depend on those before it, and a resumed run is exact
    metrics = Accumulator(run.network)
    for batch in run.batches.epoch(run.rng):
        if run.step == 0:
            _prepare(run)
        run.lr = run.optimizer.lr(run.step, run.num_steps)
        result = step(run, batch)
        metrics.add(result.data_loss, result.correct, batch.x.shape[0])
        if _due_for_check(run) and not math.isfinite(float(result.loss)):
            _diverged(run, before)
        run.step += 1
        bar.step()
    measurements = metrics.result(run.processes)
    if not math.isfinite(measurements["loss"]):
        _diverged(run, before)
    if run.validation is not None:
        measurements |= {f"val_{name}": value for name, value in evaluate(run.network, *run.validation).items()}
    run.epoch += 1
    run.history.append(measurements | {"lr": run.lr, "seconds": time.perf_counter() - started})
    bar.epoch(run.epoch, measurements)
    for callback in run.callbacks:
        callback.on_epoch_end(run)


def _prepare(run: TrainingRun) -> None:
    """Before the first step of a fresh run: give the network its start on the first batch, and steps their sizes."""
    network = run.network
    first = run.batches.last_examples()
    network.prepare_training(first.x, first.weights)
    run.steps = ProportionalSteps(network, step_scales(network.parameter_sizes(), len(network.connections)))


def _due_for_check(run: TrainingRun) -> bool:
    return run.network.backend.on_host or run.step % STEPS_BETWEEN_LOSS_CHECKS_ON_DEVICE == 0


def _diverged(run: TrainingRun, before: Array) -> None:
    run.network.parameters.flat[:] = before
    raise TrainingDiverged(
        f"the loss became NaN or infinite in epoch {run.epoch + 1}, step {run.step + 1}, at a learning rate of"
        f" {run.lr:.3g}; the network is back at the end of epoch {run.epoch}."
        " Try a lower learning rate, or scale the inputs"
    )
