"""What `pn-gpu train` and `pn-gpu evaluate` say of data, networks and results."""

from __future__ import annotations

from pathlib import Path

from pn_gpu.backends import to_numpy
from pn_gpu.cli.console import say
from pn_gpu.data import Dataset
from pn_gpu.data.arrays import Array
from pn_gpu.data.scores import regression_scores
from pn_gpu.data.target_coding import Numbers, TargetCoding
from pn_gpu.model.counts import count_dense_parameters
from pn_gpu.networks.network import Network
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.training.distributed import SingleProcess
from pn_gpu.training.history import History
from pn_gpu.training.run import Callback, TrainingRun


class EpochLines(Callback):
    """About ten lines of progress where there is no terminal to draw a bar on."""

    def __init__(self, epochs: int) -> None:
        self._every = max(1, epochs // 10)
        self._epochs = epochs

    def on_epoch_end(self, run: TrainingRun) -> None:
        if run.epoch % self._every == 0 or run.epoch == self._epochs:
            say(f"epoch {run.epoch}/{self._epochs}  {format_measurements(run.history.last)}")


def format_measurements(measurements: dict[str, float]) -> str:
    """Losses and accuracies in a line; those of validation data are called the test's."""
    shown = []
    for name, value in measurements.items():
        if name.endswith("accuracy"):
            shown.append(f"{name.replace('val_', 'test ')} {100 * value:.2f} %")
        elif name.endswith("loss"):
            shown.append(f"{name.replace('val_', 'test ')} {value:.4f}")
    return "  ".join(shown)


def evaluate(network: Network, targets: TargetCoding, x: Array, y: Array) -> str:
    """Loss and accuracy in a line; R2 and the error in the target's units, beside a constant's, for numbers."""
    line = format_measurements(network.evaluate(x, y))
    if isinstance(targets, Numbers) and not network.is_classifier:
        line += f"  {regression_scores(targets, y, to_numpy(network.predict(x)))}"
    return line


def print_head(dataset: Dataset, network: Network, recipe: str, processes: SingleProcess) -> None:
    """Before the training: data, what is done to them, and the network."""
    dense = count_dense_parameters(network.sizes)
    say(
        f"data      {dataset.name}: {len(dataset.x_train)} training and {len(dataset.x_test)} test examples,"
        f" {dataset.num_features} inputs, {dataset.num_outputs} outputs"
    )
    say(f"inputs    {dataset.preprocessing.inputs.describe()}")
    if dataset.target:
        say(f"target    {_target_name(dataset)}{dataset.target}")
    for text in dataset.notes:
        say(f"note      {text}")
    say(f"network   {network!r}")
    if isinstance(network, ParticleNetwork):
        equation = " (Eq. 5)" if network.shared else ", no node set shared"
        say(
            f"          {network.num_parameters} parameters{equation}; a dense network of this shape has {dense}"
            f" (Eq. 6), {dense / network.num_parameters:.1f} times as many"
        )
        say(
            f"particles positions in {network.dim}, dipoles in {network.dipole_dim} dimensions,"
            f" {network.initialisation} initialisation"
        )
    if processes.size > 1:
        bytes_sent = network.num_parameters * int(network.dtype[5:]) // 8
        say(
            f"processes {processes.size}; {bytes_sent} bytes of gradient a step,"
            f" {dense * int(network.dtype[5:]) // 8} for the dense network"
        )
    say(f"recipe    {recipe}")


def _target_name(dataset: Dataset) -> str:
    column = dataset.preprocessing.target_column
    return "" if column is None else f"{column!r}: " if isinstance(column, str) else f"column {column}: "


def print_tail(dataset: Dataset, network: Network, history: History) -> None:
    """After the training: how it ended, and what the network is worth."""
    if history.stop_reason != "finished":
        say(f"stopped   {history.stop_reason}, after {history.num_epochs} epochs")
    targets = dataset.preprocessing.targets
    for name, x, y in (("training", dataset.x_train, dataset.y_train), ("test", dataset.x_test, dataset.y_test)):
        say(f"{name:<9} {evaluate(network, targets, x, y)}")
    if history.num_epochs:
        seconds = sum(history["seconds"])
        say(f"time      {seconds:.1f} s, {seconds / history.num_epochs:.2f} s an epoch")


def print_saved(path: Path) -> None:
    """Where something was written."""
    size = f" ({path.stat().st_size} bytes)" if path.is_file() else ""
    say(f"saved     {path}{size}")
