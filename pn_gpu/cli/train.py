"""``pn-gpu train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pn_gpu.cli.console import is_terminal
from pn_gpu.cli.data_options import add_data_arguments, add_preprocessing_arguments, load_data
from pn_gpu.cli.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED
from pn_gpu.cli.outputs import check_files, check_pictures, save_files
from pn_gpu.cli.report import EpochLines, print_head
from pn_gpu.data import Dataset
from pn_gpu.kernels import potentials
from pn_gpu.model.activations import ACTIVATIONS
from pn_gpu.model.initialisation import INITIALISATIONS
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.network import Network
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.planning.plan import METHODS
from pn_gpu.training.callbacks import Callback, EarlyStopping
from pn_gpu.training.distributed import SingleProcess, processes_of_environment
from pn_gpu.training.penalties import L2
from pn_gpu.training.recipes import (
    BATCH_SIZE,
    DIPOLE_DIM_OF_MANY,
    LABEL_SMOOTHING,
    MANY_OUTPUTS,
    PENALTY_EXAMPLES,
    RECIPES,
    REGRESSION_L2,
    SMALL_BATCH_SIZE,
    SMALL_DATA,
    default_batch_size,
    default_dims,
    default_l2,
    default_label_smoothing,
    get_recipe,
)

HELP = "train a network and save it"
DESCRIPTION = """\
Train a Particle Network and save it. Without options: on the embedded handwritten digits, in seconds.

  pn-gpu train --data mnist --hidden 128,64 --dim 3 --recipe modern
  pn-gpu train --data mnist --model dense                 the multilayer perceptron, for comparison
  pn-gpu train --data table.csv --target price             a table of your own; see --task, --scale, --missing
  pn-gpu train --checkpoint run.safetensors --resume      go on where a run was cut off
  pn-gpu train --plot digits.png --animate digits.gif     what came out, and how the particles moved
  torchrun --nproc-per-node 2 -m pn_gpu train             data-parallel over two processes
"""

# What the user types for arguments of the library that are called otherwise.
FLAGS = {"patience": "--early-stopping", "sizes": "--hidden", "dipoles": "--l2"}

MODELS = ("dipole", "charge-phase", "dense")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    add_data_arguments(parser)
    add_preprocessing_arguments(parser)
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
        help="of their dipoles (default: N; neither given: 3 with the paper's recipe, 2 and 4 with the modern one, and"
        f" {DIPOLE_DIM_OF_MANY} instead of 4 for {MANY_OUTPUTS} outputs or more below {SMALL_DATA} examples)",
    )
    group.add_argument(
        "--initialisation",
        choices=INITIALISATIONS,
        help="size of the dipoles at the start (default: paper with the paper's recipe, else scaled)",
    )
    group.add_argument("--model", choices=MODELS, default="dipole", help="what a node is (default: dipole)")
    group.add_argument("--potential", choices=potentials.names(), default="gaussian", help="k(s) (default: gaussian)")
    group.add_argument("--activation", choices=list(ACTIVATIONS), help="hidden layers' (default: the recipe's)")
    sharing = group.add_mutually_exclusive_group()
    sharing.add_argument(
        "--shared",
        action="store_true",
        default=None,
        help="let the outputs of a layer be the inputs of the next (default with the paper's recipe)",
    )
    sharing.add_argument(
        "--unshared",
        action="store_false",
        dest="shared",
        help="give every layer node sets of its own (default with the modern recipe)",
    )
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
    group.add_argument(
        "--l2",
        type=float,
        metavar="S",
        help="strength of a penalty on dipoles, or a dense network's weights (default: with the modern recipe and below"
        f" {SMALL_DATA} examples {PENALTY_EXAMPLES:g} / their number for classes and {REGRESSION_L2} for numbers, else"
        " 0)",
    )
    group.add_argument(
        "--label-smoothing",
        type=float,
        metavar="P",
        help="part of a class label that is shared out among all classes (default: with the modern recipe and below"
        f" {SMALL_DATA} examples {LABEL_SMOOTHING}, else 0)",
    )
    group.add_argument("--seed", type=int, default=0, help="of initial parameters, shuffling and dropout (default: 0)")
    group.add_argument("--early-stopping", type=int, metavar="N", help="stop after N epochs without a better test loss")
    group.add_argument("--quiet", action="store_true", help="no progress")


def _add_file_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--output", type=Path, metavar="FILE", help="the network (default: pn-DATA.safetensors here)")
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="written after every epoch")
    group.add_argument("--resume", action="store_true", help="continue the run in the checkpoint, if there is one")
    group.add_argument("--history", type=Path, metavar="FILE", help="measurements of every epoch, as JSON")
    group.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="history, particles, first weights, and the test part: confusion matrix, or predicted against true values;"
        " .png, .svg, ...",
    )
    group.add_argument("--animate", type=Path, metavar="FILE.gif", help="the particles moving through training")


def run(options: argparse.Namespace) -> int:
    """Train as the options say; returns the exit code."""
    with processes_of_environment() as processes:
        return _train(options, processes)


def _train(options: argparse.Namespace, processes: SingleProcess) -> int:
    leads = processes.rank == 0
    dataset = load_data(options)
    options.output = options.output or Path(f"pn-{dataset.name}.safetensors")
    if leads:
        check_files(options)
    recorder = check_pictures(options)
    network = make_network(options, dataset)
    network.preprocessing = dataset.preprocessing
    if leads:
        print_head(dataset, network, options.recipe, processes)
    bar = leads and not options.quiet and is_terminal()
    callbacks = _make_callbacks(options, print_epochs=leads and not options.quiet and not bar)
    history = network.fit(
        dataset.x_train,
        dataset.y_train,
        validation_data=(dataset.x_test, dataset.y_test),
        checkpoint=options.checkpoint,
        resume=options.resume,
        callbacks=callbacks if recorder is None else [*callbacks, recorder],
        progress=bar,
        processes=processes,
        **fit_options(options, dataset),
    )
    saved = not leads or save_files(options, dataset, network, history, recorder)
    if history.stop_reason == "interrupted":
        return EXIT_INTERRUPTED
    return 0 if saved else EXIT_FAILED


def make_network(options: argparse.Namespace, dataset: Dataset) -> Network:
    """The network that the options ask for, of the data's width."""
    sizes = [dataset.num_features, *_parse_hidden(options.hidden), dataset.num_outputs]
    recipe = get_recipe(options.recipe)
    common: dict[str, Any] = {
        "activation": options.activation or recipe.activation,
        "output": "linear" if dataset.num_classes is None else "softmax",
        "dropout": options.dropout,
        "seed": options.seed,
        "backend": options.backend,
        "dtype": options.dtype,
    }
    if options.model == "dense":
        return DenseNetwork(sizes, **common)
    dim, dipole_dim = _dims(options, dataset)
    return ParticleNetwork(
        sizes,
        dim,
        dipole_dim=dipole_dim,
        initialisation=options.initialisation or recipe.initialisation,
        model=options.model.replace("-", "_"),
        shared=recipe.shared if options.shared is None else options.shared,
        potential=options.potential,
        method=options.method,
        rtol=options.rtol,
        **common,
    )


def _dims(options: argparse.Namespace, dataset: Dataset) -> tuple[int, int | None]:
    """Dimensions of positions and dipoles."""
    if options.dim is None and options.dipole_dim is None and options.model == "dipole":
        return default_dims(options.recipe, len(dataset.x_train), dataset.num_outputs)
    return 3 if options.dim is None else options.dim, options.dipole_dim


def fit_options(options: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """Keyword arguments of `Network.fit` that say how a network is trained, not where it reports to."""
    size = {"num_examples": len(dataset.x_train), "is_classification": dataset.num_classes is not None}
    l2 = default_l2(options.recipe, **size) if options.l2 is None else options.l2
    smoothing = options.label_smoothing
    return {
        "epochs": options.epochs,
        "batch_size": default_batch_size(size["num_examples"]) if options.batch_size is None else options.batch_size,
        "penalties": [L2(dipoles=l2, weights=l2)] if l2 else [],
        "label_smoothing": default_label_smoothing(options.recipe, **size) if smoothing is None else smoothing,
        "seed": options.seed,
        **get_recipe(options.recipe, options.lr).fit_options,
    }


def _parse_hidden(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--hidden: got {text!r}, want numbers of nodes separated by commas, such as 128,64")
    return [int(part) for part in parts]


def _make_callbacks(options: argparse.Namespace, print_epochs: bool) -> list[Callback]:
    callbacks: list[Callback] = []
    if options.early_stopping is not None:
        callbacks.append(EarlyStopping("val_loss", patience=options.early_stopping))
    if print_epochs:
        callbacks.append(EpochLines(options.epochs))
    return callbacks
