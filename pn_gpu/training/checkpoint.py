"""Training runs on disk: everything that an exact continuation needs, in one safetensors file.

A checkpoint is a saved network with more in it, so `pn_gpu.load` reads it too.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_integer, check_number
from pn_gpu.storage import DAMAGE, read_file, write_file
from pn_gpu.training.history import History
from pn_gpu.training.proportional_steps import ProportionalSteps
from pn_gpu.training.run import TrainingRun

_TRAINING = "training"

# Where a callback gave the network other parameters at the end, those with which the run would go on.
_TRAINED = "training.parameters"

Tensors = dict[str, np.ndarray[Any, Any]]


def save_checkpoint(run: TrainingRun, path: str | os.PathLike[str], trained: Any = None) -> None:
    """Write the state of a run at the end of an epoch, whole or not at all.

    Parameters
    ----------
    run : TrainingRun
    path : path
    trained : array [P], optional
        The parameters with which the run would go on, where the network's are others by now.

    Raises
    ------
    OSError
        If it cannot be written.
    TypeError
        If the state of a callback cannot be stored.
    """
    tensors: dict[str, Any] = {f"optimizer.{name}": value for name, value in run.optimizer_state.items()}
    if trained is not None:
        tensors[_TRAINED] = trained
    training = {
        "settings": run.settings(),
        "epoch": run.epoch,
        "step": run.step,
        "stop_reason": run.history.stop_reason,
        "history": run.history.metrics,
        "random_state": run.rng.bit_generator.state,
        "callbacks": [callback.state() for callback in run.stateful_callbacks],
        "step_scales": run.steps.scales,
    }
    network = run.network
    write_file(path, network.parameters.to_numpy() | tensors, network.metadata() | {_TRAINING: training})


def restore_checkpoint(run: TrainingRun, path: str | os.PathLike[str]) -> None:
    """Bring a fresh run, and its network, to the state that was saved.

    Raises
    ------
    ValueError
        If the file is damaged, no checkpoint, or of another network, other data or other settings than the run's. The
        network is then as it was.
    """
    tensors, metadata = read_file(path)
    if _TRAINING not in metadata:
        raise ValueError(f"checkpoint: {path} holds a network but no training run to resume")
    before = to_numpy(run.network.parameters.flat).copy()
    try:
        saved = _comparable(run.network.complete_architecture(metadata["architecture"]))
        _check_same(saved, dict.fromkeys(saved) | _comparable(run.network.architecture()))
        training = metadata[_TRAINING]
        _check_same(training["settings"], run.settings())
        _restore_numbers(run, tensors)
        _restore_progress(run, training)
        _restore_callbacks(run, training["callbacks"], tensors)
    except DAMAGE as error:
        run.network.parameters.flat[:] = run.network.backend.asarray(before)
        reason = error if isinstance(error, ValueError) else f"it is damaged ({type(error).__name__}: {error})"
        raise ValueError(f"checkpoint: {path} cannot be resumed: {reason}") from error


def _comparable(architecture: dict[str, Any]) -> dict[str, Any]:
    """With arrays (fixed positions) as words that say what is in them."""
    return {
        name: f"array {list(value.shape)} {hashlib.sha256(value.tobytes()).hexdigest()[:12]}"
        if isinstance(value, np.ndarray)
        else value
        for name, value in architecture.items()
    }


def _check_same(saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    saved = {"label_smoothing": 0.0} | saved  # an older run had none
    for name, value in wanted.items():
        if name not in saved and name in ("dtype", "data", "validation_data", "seed"):
            continue  # an older file, or a run without a seed, does not say
        if saved.get(name) == value:
            continue
        if name in ("data", "validation_data"):
            raise ValueError(f"it was made with {'other data' if name == 'data' else 'other validation data'}")
        raise ValueError(f"it was made with {name} {saved.get(name)!r}, this run has {value!r}")


def _restore_numbers(run: TrainingRun, tensors: Tensors) -> None:
    parameters, backend = run.network.parameters, run.network.backend
    if _TRAINED in tensors:
        parameters.flat[:] = backend.asarray(_of_shape(tensors, _TRAINED, parameters.flat))
    else:
        for name, value in parameters.items():
            parameters[name] = backend.asarray(_of_shape(tensors, name, value))
    for name, value in run.optimizer_state.items():
        run.optimizer_state[name] = backend.asarray(_of_shape(tensors, f"optimizer.{name}", value))


def _of_shape(tensors: Tensors, name: str, like: Any) -> np.ndarray[Any, Any]:
    """A tensor of the shape and the dtype of ``like``."""
    if name not in tensors:
        raise ValueError(f"{name} is missing")
    shape, dtype = tuple(like.shape), to_numpy(like[:0]).dtype
    if tensors[name].shape != shape or tensors[name].dtype != dtype:
        raise ValueError(
            f"{name} has shape {tensors[name].shape} and dtype {tensors[name].dtype}, this run's {shape} and {dtype}"
        )
    return tensors[name]


def _restore_progress(run: TrainingRun, training: dict[str, Any]) -> None:
    run.epoch = check_integer("epoch", training["epoch"], low=0)
    run.step = check_integer("step", training["step"], low=0)
    run.rng.bit_generator.state = training["random_state"]
    history = {name: [float(value) for value in values] for name, values in training["history"].items()}
    if {len(values) for values in history.values()} != {run.epoch}:
        raise ValueError(f"its history does not have the {run.epoch} epochs that were trained")
    scales, limits = training.get("step_scales", {}), np.finfo(run.network.dtype)
    run.steps = ProportionalSteps(
        run.network,
        {
            name: check_number("step_scales", scale, low=float(limits.tiny), high=float(limits.max))
            for name, scale in scales.items()
        },
    )
    reason = training["stop_reason"]
    if not isinstance(reason, str):
        raise ValueError(f"stop_reason: got {reason!r}, want a text")
    # A run that a callback ended stays ended; an interrupted or finished one may go on.
    run.history = History(history, "" if reason in ("finished", "interrupted") else reason)


def _restore_callbacks(run: TrainingRun, states: list[Any], tensors: Tensors) -> None:
    for index, (callback, state) in enumerate(zip(run.stateful_callbacks, states, strict=True)):
        prefix = f"callbacks.{index}."  # where older files have the arrays
        arrays = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        callback.set_state(state | arrays)
        callback.on_resume(run)
