"""One step of training in two halves: what the host decides of it, and what is computed on the arrays' device.

`compute` reads nothing back to the host and takes nothing from it but its arguments, for the settings that
`pn_gpu.training.graphed_steps` replays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pn_gpu.kernels.room import How
from pn_gpu.model.parameters import ParameterVector
from pn_gpu.training.batches import Batch
from pn_gpu.training.distributed import sum_gradient
from pn_gpu.training.dropout import dropout_masks
from pn_gpu.training.label_smoothing import smooth_labels
from pn_gpu.training.metrics import correct_answers
from pn_gpu.training.passes import batch_gradient
from pn_gpu.training.run import TrainingRun
from pn_gpu.training.symmetries import remove_rotation, remove_translation

Array = Any
# An optimiser's move of parameters [P] by their gradient [P], in place.
Move = Callable[[Array, Array], None]
Hows = Sequence[How | None]


class StepInputs(NamedTuple):
    """What is new at every step: this process's part of the batch, and its dropout."""

    x: Array  # [B, N]
    targets: Array  # [B, M]
    weights: Array | None  # [B]
    masks: tuple[Array | None, ...]  # of every layer's activations


class StepResult(NamedTuple):
    """What a step measured of this process's part of the batch, before its update."""

    loss: Array  # its mean, penalties included
    data_loss: Array  # without penalties
    correct: Array  # right answers; 0 for a regression


def prepare(run: TrainingRun, batch: Batch) -> tuple[StepInputs, Hows]:
    """The inputs of a step, and how every layer is computed: the host's half."""
    network, rows = run.network, batch.x.shape[0]
    masks = dropout_masks(network, rows, run.rng if rows else None)
    hows = [layer.how(rows, network.parameters) if rows else None for layer in network.connections]
    targets = smooth_labels(batch.targets, run.label_smoothing, network)
    return StepInputs(batch.x, targets, batch.weights, tuple(masks)), hows


def current_move(run: TrainingRun) -> Move:
    """The optimiser's update at the step the run is at."""
    lr, step = run.lr, run.step
    return lambda parameters, gradient: run.optimizer.update(parameters, gradient, run.optimizer_state, lr, step)


def compute(run: TrainingRun, inputs: StepInputs, hows: Hows, move: Move, part: float = 1.0) -> StepResult:
    """Move the network's parameters by one step from ``part`` of a batch."""
    network = run.network
    if inputs.x.shape[0]:
        loss, gradient, outputs = batch_gradient(network, *inputs, hows)
        correct = correct_answers(network, outputs, inputs.targets, inputs.weights)
    else:  # more processes than rows in a last, small batch
        loss, correct = network.backend.zeros((), network.dtype), 0.0
        zeros = network.backend.zeros(network.num_parameters, network.dtype)
        gradient = ParameterVector(network.parameters.layout, zeros)
    data_loss = loss
    gradient.flat = sum_gradient(run.processes, gradient.flat * part, network.backend)
    for penalty in run.penalties:
        loss = loss + penalty.add(network, gradient)
    if run.remove_mean_translation:
        remove_translation(network, gradient)
    if run.remove_mean_rotation:
        remove_rotation(network, gradient)
    run.steps.update(move, network.parameters.flat, gradient.flat)
    return StepResult(loss, data_loss, correct)


def eager_step(run: TrainingRun, batch: Batch) -> StepResult:
    """One step, operation by operation."""
    inputs, hows = prepare(run, batch)
    return compute(run, inputs, hows, current_move(run), batch.x.shape[0] / batch.num_rows)
