"""Training runs on disk: everything that an exact continuation needs, in one safetensors file.

A checkpoint is a saved network with more in it, so `pn_gpu.load` reads it too.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.storage import read_file, write_file
from pn_gpu.training.proportional_steps import ProportionalSteps
from pn_gpu.training.run import TrainingRun

_TRAINING = "training"


def save_checkpoint(run: TrainingRun, path: str | os.PathLike[str]) -> None:
    """Write the state of a run at the end of an epoch, whole or not at all."""
    tensors = {f"optimizer.{name}": to_numpy(value) for name, value in run.optimizer_state.items()}
    callbacks = []
    for index, callback in enumerate(run.stateful_callbacks):
        state = callback.state()
        arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
        tensors |= {f"callbacks.{index}.{name}": value for name, value in arrays.items()}
        callbacks.append({name: value for name, value in state.items() if name not in arrays})
    training = {
        "settings": run.settings(),
        "epoch": run.epoch,
        "step": run.step,
        "stop_reason": run.history.stop_reason,
        "history": run.history.metrics,
        "random_state": run.rng.bit_generator.state,
        "callbacks": callbacks,
        "step_scales": run.steps.scales,
    }
    network = run.network
    write_file(path, network.parameters.to_numpy() | tensors, network.metadata() | {_TRAINING: training})


def restore_checkpoint(run: TrainingRun, path: str | os.PathLike[str]) -> None:
    """Bring a fresh run, and its network, to the state that was saved.

    Raises
    ------
    ValueError
        If the file is no checkpoint, or of another network or other training settings than the run's.
    """
    tensors, metadata = read_file(path)
    if _TRAINING not in metadata:
        raise ValueError(f"checkpoint: {path} holds a network but no training run to resume")
    training = metadata[_TRAINING]
    _check_same(
        path,
        {"architecture": run.network.complete_architecture(metadata["architecture"])},
        {"architecture": run.network.architecture()},
    )
    _check_same(path, training["settings"], run.settings())
    network = run.network
    for name in network.parameters:
        network.parameters[name] = network.backend.asarray(tensors[name])
    for name in run.optimizer_state:
        run.optimizer_state[name] = network.backend.asarray(tensors[f"optimizer.{name}"])
    for index, (callback, state) in enumerate(zip(run.stateful_callbacks, training["callbacks"], strict=True)):
        prefix = f"callbacks.{index}."
        arrays = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        callback.set_state(state | arrays)
    run.epoch, run.step = training["epoch"], training["step"]
    run.history.metrics = training["history"]
    run.rng.bit_generator.state = training["random_state"]
    run.steps = ProportionalSteps(network, training.get("step_scales", {}))
    # A run that a callback ended stays ended; an interrupted or finished one may go on.
    if training["stop_reason"] not in ("", "finished", "interrupted"):
        run.stop(training["stop_reason"])


def _check_same(path: Any, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if saved.get(name) != value:
            raise ValueError(f"checkpoint: {path} was made with {name} {saved.get(name)!r}, this run has {value!r}")
