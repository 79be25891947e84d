"""``pn-gpu train``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pn_gpu.cli.data_options import add_data_arguments, load_data
from pn_gpu.data import Dataset
from pn_gpu.kernels import potentials
from pn_gpu.model.activations import ACTIVATIONS
from pn_gpu.model.counts import count_dense_parameters
from pn_gpu.model.initialisation import INITIALISATIONS
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.network import Network
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.planning.plan import METHODS
from pn_gpu.training.callbacks import Callback, EarlyStopping
from pn_gpu.training.distributed import SingleProcess, processes_of_environment
from pn_gpu.training.history import History
from pn_gpu.training.recipes import RECIPES, get_recipe
from pn_gpu.training.run import TrainingRun

if TYPE_CHECKING:
    from pn_gpu.animation import ParticleRecorder

HELP = "train a network and save it"
DESCRIPTION = """\
Train a Particle Network and save it. Without options: on the embedded handwritten digits, in seconds.

  pn-gpu train --data mnist --hidden 128,64 --dim 3 --recipe modern
  pn-gpu train --data mnist --model dense                 the multilayer perceptron, for comparison
  pn-gpu train --data table.csv --target price --task regression
  pn-gpu train --checkpoint run.safetensors --resume      go on where a run was cut off
  pn-gpu train --plot digits.png --animate digits.gif     what came out, and how the particles moved
  torchrun --nproc-per-node 2 -m pn_gpu train             data-parallel over two processes
"""

# The paper's batches; a small data set needs smaller ones to get enough steps.
BATCH_SIZE, SMALL_BATCH_SIZE, SMALL_DATA = 100, 32, 10_000

MODELS = ("dipole", "charge-phase", "dense")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    add_data_arguments(parser)
    _add_network_arguments(parser.add_argument_group("network"))
    _add_training_arguments(parser.add_argument_group("training"))
    _add_file_arguments(parser.add_argument_group("files"))


def _add_network_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--hidden", default="64", metavar="N,N", help="nodes of the hidden layers; '' for none (default: 64)"
    )
    group.add_argument("--dim", type=int, metavar="N", help="dimensions of the particles' positions")
    group.add_argument(
        "--dipole-dim",
        type=int,
        metavar="D",
        help="of their dipoles (default: N; neither given: 2 and 4 with the modern recipe, 3 with the paper's)",
    )
    group.add_argument(
        "--initialisation",
        choices=INITIALISATIONS,
        help="size of the dipoles at the start (default: paper with the paper's recipe, else scaled)",
    )
    group.add_argument("--model", choices=MODELS, default="dipole", help="what a node is (default: dipole)")
    group.add_argument("--potential", choices=potentials.names(), default="gaussian", help="k(s) (default: gaussian)")
    group.add_argument("--activation", choices=list(ACTIVATIONS), help="hidden layers' (default: the recipe's)")
    group.add_argument("--unshared", action="store_true", help="give every layer node sets of its own")
    group.add_argument("--dropout", type=float, default=0.0, metavar="P", help="of hidden activations (default: 0)")
    group.add_argument("--method", choices=METHODS, default="auto", help="how layers are computed (default: auto)")
    group.add_argument("--rtol", type=float, default=1e-3, help="tolerance of an approximate method (default: 1e-3)")
    group.add_argument("--backend", default="auto", help="numpy, torch, torch:cuda:0, cupy, ... (default: auto)")
    group.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")


def _add_training_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recipe",
        choices=list(RECIPES),
        default="modern",
        help="modern: Adam, one cycle to 0.02, leaky ReLU; paper: RMSProp at 0.005, ReLU (default: modern)",
    )
    group.add_argument("--epochs", type=int, default=50, help="(default: 50)")
    group.add_argument(
        "--batch-size", type=int, help=f"(default: {BATCH_SIZE}; {SMALL_BATCH_SIZE} below {SMALL_DATA} examples)"
    )
    group.add_argument("--lr", type=float, help="(peak) learning rate (default: the recipe's)")
    group.add_argument("--seed", type=int, default=0, help="of initial parameters, shuffling and dropout (default: 0)")
    group.add_argument("--early-stopping", type=int, metavar="N", help="stop after N epochs without a better test loss")
    group.add_argument("--quiet", action="store_true", help="no progress")


def _add_file_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--output", type=Path, metavar="FILE", help="the network (default: pn-DATA.safetensors here)")
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="written after every epoch")
    group.add_argument("--resume", action="store_true", help="continue the run in the checkpoint, if there is one")
    group.add_argument("--history", type=Path, metavar="FILE", help="measurements of every epoch, as JSON")
    group.add_argument("--plot", type=Path, metavar="FILE", help="history, particles, first weights: .png, .svg, ...")
    group.add_argument("--animate", type=Path, metavar="FILE.gif", help="the particles moving through training")


def run(options: argparse.Namespace) -> int:
    """Train as the options say; returns the exit code."""
    with processes_of_environment() as processes:
        return _train(options, processes)


def _train(options: argparse.Namespace, processes: SingleProcess) -> int:
    dataset = load_data(options)
    network = _make_network(options, dataset)
    output = options.output or Path(f"pn-{Path(dataset.name).stem or 'data'}.safetensors")
    _check_writable(output, options.checkpoint, options.history, options.plot, options.animate)
    recorder = _check_pictures(options)
    leads = processes.rank == 0
    if leads:
        _print_head(dataset, network, options.recipe, processes)
    recipe = get_recipe(options.recipe, options.lr)
    bar = leads and not options.quiet and sys.stderr.isatty()
    history = network.fit(
        dataset.x_train,
        dataset.y_train,
        epochs=options.epochs,
        batch_size=options.batch_size if options.batch_size is not None else _default_batch_size(dataset),
        validation_data=(dataset.x_test, dataset.y_test),
        seed=options.seed,
        checkpoint=options.checkpoint,
        resume=options.resume,
        callbacks=[
            *_make_callbacks(options, print_epochs=leads and not options.quiet and not bar),
            *([] if recorder is None else [recorder]),
        ],
        progress=bar,
        processes=processes,
        **recipe.fit_options,
    )
    if leads:
        network.save(output)
        if options.history is not None:
            history.save(options.history)
        _print_tail(dataset, network, history, output)
        _save_pictures(options, network, history, recorder)
    return 130 if history.stop_reason == "interrupted" else 0


def _make_network(options: argparse.Namespace, dataset: Dataset) -> Network:
    sizes = [dataset.num_features, *_parse_hidden(options.hidden), dataset.num_outputs]
    common: dict[str, Any] = {
        "activation": options.activation or get_recipe(options.recipe).activation,
        "output": "linear" if dataset.num_classes is None else "softmax",
        "dropout": options.dropout,
        "seed": options.seed,
        "backend": options.backend,
        "dtype": options.dtype,
    }
    if options.model == "dense":
        return DenseNetwork(sizes, **common)
    dim, dipole_dim = _dims(options)
    return ParticleNetwork(
        sizes,
        dim,
        dipole_dim=dipole_dim,
        initialisation=options.initialisation or get_recipe(options.recipe).initialisation,
        model=options.model.replace("-", "_"),
        shared=not options.unshared,
        potential=options.potential,
        method=options.method,
        rtol=options.rtol,
        **common,
    )


def _dims(options: argparse.Namespace) -> tuple[int, int | None]:
    """Dimensions of positions and dipoles."""
    if options.dim is None and options.dipole_dim is None and options.model == "dipole":
        return get_recipe(options.recipe).dims
    return 3 if options.dim is None else options.dim, options.dipole_dim


def _default_batch_size(dataset: Dataset) -> int:
    return SMALL_BATCH_SIZE if len(dataset.x_train) < SMALL_DATA else BATCH_SIZE


def _parse_hidden(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--hidden: got {text!r}, want numbers of nodes separated by commas, such as 128,64")
    return [int(part) for part in parts]


def _check_writable(*paths: Path | None) -> None:
    """Find out before the training, not after it."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")


def _check_pictures(options: argparse.Namespace) -> ParticleRecorder | None:
    """Find out before the training whether its pictures can be made; what records the animation, if one is wanted."""
    if options.plot is not None:
        from pn_gpu.plot import check_picture

        check_picture(options.plot)
    if options.animate is None:
        return None
    from pn_gpu.animation import ParticleRecorder, check_animation

    check_animation(options.animate)
    return ParticleRecorder()


def _save_pictures(
    options: argparse.Namespace, network: Network, history: History, recorder: ParticleRecorder | None
) -> None:
    if options.plot is not None and history.num_epochs:
        from pn_gpu import plot

        plot.summary(network, history, options.plot)
        print(f"saved     {options.plot} ({options.plot.stat().st_size} bytes)")
    if recorder is not None:
        recorder.save(options.animate)
        print(f"saved     {options.animate} ({options.animate.stat().st_size} bytes)")


def _make_callbacks(options: argparse.Namespace, print_epochs: bool) -> list[Any]:
    callbacks: list[Any] = []
    if options.early_stopping is not None:
        callbacks.append(EarlyStopping("val_loss", patience=options.early_stopping))
    if print_epochs:
        callbacks.append(_EpochLines(options.epochs))
    return callbacks


class _EpochLines(Callback):
    """About ten lines of progress where there is no terminal to draw a bar on."""

    def __init__(self, epochs: int) -> None:
        self._every = max(1, epochs // 10)
        self._epochs = epochs

    def on_epoch_end(self, run: TrainingRun) -> None:
        if run.epoch % self._every == 0 or run.epoch == self._epochs:
            print(f"epoch {run.epoch}/{self._epochs}  {_format(run.history.last)}", flush=True)


def _format(measurements: dict[str, float]) -> str:
    shown = []
    for name, value in measurements.items():
        if name.endswith("accuracy"):
            shown.append(f"{name.replace('val_', 'test ')} {100 * value:.2f} %")
        elif name.endswith("loss"):
            shown.append(f"{name.replace('val_', 'test ')} {value:.4f}")
    return "  ".join(shown)


def _print_head(dataset: Dataset, network: Network, recipe: str, processes: SingleProcess) -> None:
    dense = count_dense_parameters(network.sizes)
    print(
        f"data      {dataset.name}: {len(dataset.x_train)} training and {len(dataset.x_test)} test examples,"
        f" {dataset.num_features} inputs, {dataset.num_outputs} outputs"
    )
    print(f"network   {network!r}")
    if isinstance(network, ParticleNetwork):
        print(
            f"          {network.num_parameters} parameters (Eq. 5); a dense network of this shape has {dense} (Eq. 6),"
            f" {dense / network.num_parameters:.1f} times as many\n"
            f"particles positions in {network.dim}, dipoles in {network.dipole_dim} dimensions,"
            f" {network.initialisation} initialisation"
        )
    if processes.size > 1:
        bytes_sent = network.num_parameters * int(network.dtype[5:]) // 8
        print(
            f"processes {processes.size}; {bytes_sent} bytes of gradient a step,"
            f" {dense * int(network.dtype[5:]) // 8} for the dense network"
        )
    print(f"recipe    {recipe}", flush=True)


def _print_tail(dataset: Dataset, network: Network, history: History, output: Path) -> None:
    if history.stop_reason != "finished":
        print(f"stopped   {history.stop_reason}, after {history.num_epochs} epochs")
    for name, x, y in (("training", dataset.x_train, dataset.y_train), ("test", dataset.x_test, dataset.y_test)):
        print(f"{name:<9} {_format(network.evaluate(x, y))}")
    if history.num_epochs:
        print(
            f"time      {sum(history['seconds']):.1f} s, {sum(history['seconds']) / history.num_epochs:.2f} s an epoch"
        )
    print(f"saved     {output} ({output.stat().st_size} bytes)")
