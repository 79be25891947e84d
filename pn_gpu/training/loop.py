"""The training loop: epochs, steps, and what ends them."""

from __future__ import annotations

import math
import os
import time
import warnings
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.parameters import ParameterVector
from pn_gpu.training.batches import Batch
from pn_gpu.training.checkpoint import save_checkpoint
from pn_gpu.training.distributed import sum_gradient
from pn_gpu.training.label_smoothing import smooth_labels
from pn_gpu.training.metrics import Accumulator, evaluate
from pn_gpu.training.passes import batch_gradient
from pn_gpu.training.progress import Progress
from pn_gpu.training.proportional_steps import ProportionalSteps, step_scales
from pn_gpu.training.run import TrainingRun
from pn_gpu.training.symmetries import remove_rotation, remove_translation

Array = Any

# Reading a loss back from a device makes the host wait for it; on the host it costs nothing.
STEPS_BETWEEN_LOSS_CHECKS_ON_DEVICE = 50


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite."""


def train(
    run: TrainingRun,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
) -> None:
    """Train up to the last epoch, or until somebody stops it."""
    for callback in run.callbacks:
        callback.on_train_begin(run)
    bar = Progress(False if run.processes.rank else progress, run.num_steps or None, run.step, run.epochs)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging loss gets a message of its own
            while run.epoch < run.epochs and not run.history.stop_reason:
                _train_epoch(run, bar)
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


def _train_epoch(run: TrainingRun, bar: Progress) -> None:
    started = time.perf_counter()
    before = namespace_of(run.network.parameters.flat).asarray(run.network.parameters.flat, copy=True)
    for layer in run.network.connections:
        layer.forget_plan()  # so that an epoch does not depend on those before it, and a resumed run is exact
    metrics = Accumulator(run.network)
    lr = 0.0
    for batch in run.batches.epoch(run.rng):
        if run.step == 0:
            _prepare(run)
        lr = run.optimizer.lr(run.step, run.num_steps)
        loss = _train_step(run, batch, lr, metrics)
        if _due_for_check(run) and not math.isfinite(float(loss)):
            _diverged(run, before, lr)
        run.step += 1
        bar.step()
    measurements = metrics.result(run.processes)
    if not math.isfinite(measurements["loss"]):
        _diverged(run, before, lr)
    if run.validation is not None:
        measurements |= {f"val_{name}": value for name, value in evaluate(run.network, *run.validation).items()}
    run.epoch += 1
    run.history.append(measurements | {"lr": lr, "seconds": time.perf_counter() - started})
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


def _train_step(run: TrainingRun, batch: Batch, lr: float, metrics: Accumulator) -> Array:
    """One update from this process's part of a batch; returns the part's loss."""
    network = run.network
    loss, gradient = _part_gradient(run, batch, metrics)
    part = batch.x.shape[0] / batch.num_rows
    gradient.flat = sum_gradient(run.processes, gradient.flat * part, network.backend)
    for penalty in run.penalties:
        loss = loss + penalty.add(network, gradient)
    if run.remove_mean_translation:
        remove_translation(network, gradient)
    if run.remove_mean_rotation:
        remove_rotation(network, gradient)
    run.steps.update(run.optimizer, network.parameters.flat, gradient.flat, run.optimizer_state, lr, run.step)
    return loss


def _part_gradient(run: TrainingRun, batch: Batch, metrics: Accumulator) -> tuple[Array, ParameterVector]:
    network = run.network
    if batch.x.shape[0] == 0:  # more processes than rows in a last, small batch
        zeros = network.backend.zeros(network.num_parameters, network.dtype)
        return network.backend.zeros((), network.dtype), ParameterVector(network.parameters.layout, zeros)
    targets = smooth_labels(batch.targets, run.label_smoothing, network)
    loss, gradient, outputs = batch_gradient(network, batch.x, targets, run.rng, batch.weights)
    metrics.add(loss, outputs, targets, batch.weights)
    return loss, gradient


def _diverged(run: TrainingRun, before: Array, lr: float) -> None:
    run.network.parameters.flat[:] = before
    raise TrainingDiverged(
        f"the loss became NaN or infinite in epoch {run.epoch + 1}, step {run.step + 1}, at a learning rate of"
        f" {lr:.3g}; the network is back at the end of epoch {run.epoch}."
        " Try a lower learning rate, or scale the inputs"
    )
