"""``pn-gpu train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pn_gpu.cli.console import is_terminal
from pn_gpu.cli.data_options import add_data_arguments, add_preprocessing_arguments, load_data
from pn_gpu.cli.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED
from pn_gpu.cli.network_options import NETWORK_FLAGS, add_network_arguments, make_network
from pn_gpu.cli.outputs import check_files, check_pictures, save_files
from pn_gpu.cli.report import EpochLines, print_head
from pn_gpu.data import Dataset
from pn_gpu.training.callbacks import Callback, EarlyStopping
from pn_gpu.training.distributed import SingleProcess, processes_of_environment
from pn_gpu.training.penalties import L2
from pn_gpu.training.recipes import (
    BATCH_SIZE,
    LABEL_SMOOTHING,
    PENALTY_EXAMPLES,
    RECIPES,
    REGRESSION_L2,
    SMALL_BATCH_SIZE,
    SMALL_DATA,
    default_batch_size,
    default_l2,
    default_label_smoothing,
    get_recipe,
)

HELP = "train a network and save it"
DESCRIPTION = """\
Train a Particle Network and save it. Without options: on the embedded handwritten digits, in seconds.

  pn-gpu train --data mnist --hidden 128,64 --dim 3 --recipe modern
  pn-gpu train --data mnist --model dense                 the multilayer perceptron, for comparison
  pn-gpu train --data mnist --hidden 128 --grid --dipole-grid 7x7    pixels have known places: 97 % with 1,900 numbers
  pn-gpu train --data table.csv --target price             a table of your own; see --task, --scale, --missing
  pn-gpu train --checkpoint run.safetensors --resume      go on where a run was cut off
  pn-gpu train --plot digits.png --animate digits.gif     what came out, and how the particles moved
  torchrun --nproc-per-node 2 -m pn_gpu train             data-parallel over two processes
"""

# What the user types for arguments of the library that are called otherwise.
FLAGS = NETWORK_FLAGS | {"patience": "--early-stopping", "dipoles": "--l2"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    add_data_arguments(parser)
    add_preprocessing_arguments(parser)
    add_network_arguments(parser.add_argument_group("network"))
    _add_training_arguments(parser.add_argument_group("training"))
    _add_file_arguments(parser.add_argument_group("files"))


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


def fit_options(options: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """Keyword arguments of `Network.fit` that say how a network is trained, not where it reports to."""
    data = len(dataset.x_train), dataset.num_classes is not None
    l2 = default_l2(options.recipe, *data) if options.l2 is None else options.l2
    smoothing = options.label_smoothing
    return {
        "epochs": options.epochs,
        "batch_size": default_batch_size(data[0]) if options.batch_size is None else options.batch_size,
        "penalties": [L2(dipoles=l2, weights=l2)] if l2 else [],
        "label_smoothing": default_label_smoothing(options.recipe, *data) if smoothing is None else smoothing,
        "seed": options.seed,
        **get_recipe(options.recipe, options.lr).fit_options,
    }


def _make_callbacks(options: argparse.Namespace, print_epochs: bool) -> list[Callback]:
    callbacks: list[Callback] = []
    if options.early_stopping is not None:
        callbacks.append(EarlyStopping("val_loss", patience=options.early_stopping))
    if print_epochs:
        callbacks.append(EpochLines(options.epochs))
    return callbacks
