"""The start: initial loss and test accuracy after a few epochs, by topology, of the scaled start beside the paper's.

python -m bench initialisation --data DIR                       both starts, 4 epochs, Adam with one cycle
python -m bench initialisation --data DIR --starts scaled --save initialisation_scaled
python -m bench initialisation --data DIR --starts scaled --only 784-10 --dim 1 --dipole-dim 5 --epochs 50 --seeds 0 1 2
python -m bench initialisation --data DIR --rates 0.006 0.0125 0.025 0.05 --epochs 2 --only 784-64-10,784-4096-10

The dense network's initial loss (Glorot-uniform) stands beside them. A logit of no information costs ln 10 = 2.303.
"""

from __future__ import annotations

import argparse
from itertools import product

import pn_gpu as pn
from bench.harness import add_save_option, print_row, report
from pn_gpu.data import Dataset, load
from pn_gpu.model.initialisation import INITIALISATIONS
from pn_gpu.training.loop import TrainingDiverged
from pn_gpu.training.recipes import get_recipe

HELP = "initial loss and accuracy after a few epochs, by topology and start"

HIDDEN = ((), (64,), (512,), (4096,), (512, 512), (4096, 4096), (128,) * 4, (256,) * 4, (64,) * 8)
BATCH_SIZE = 100
LOSS_EXAMPLES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with the IDX files, or mnist (default)")
    parser.add_argument("--starts", nargs="+", choices=INITIALISATIONS, default=list(INITIALISATIONS))
    parser.add_argument("--only", metavar="SIZES", help="topologies, such as 784-64-10,784-512-10 (default: all)")
    parser.add_argument("--dim", type=int, default=2, help="dimensions n (default: 2)")
    parser.add_argument("--dipole-dim", type=int, default=4, help="dimensions d (default: 4)")
    parser.add_argument("--unshared", action="store_true", help="node sets of its own for every layer")
    parser.add_argument("--rates", type=float, nargs="+", help="peak learning rates (default: the modern recipe's)")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--examples", type=int, help="training examples (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of start and shuffling (default: 0)")
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Train every topology from every start at every rate."""
    data = load(options.data)
    topologies = {
        "-".join(map(str, sizes)): sizes
        for hidden in HIDDEN
        for sizes in [(data.num_features, *hidden, data.num_outputs)]
    }
    names = options.only.split(",") if options.only else list(topologies)
    unknown = [name for name in names if name not in topologies]
    if unknown:
        raise ValueError(f"--only: got {options.only!r}, want some of {','.join(topologies)}")
    rows = []
    for name in names:
        for start in options.starts:
            for lr, seed in product(options.rates or [None], options.seeds):
                rows.append(_train(topologies[name], start, lr, seed, data, options))
                print_row(rows[-1])
    report(f"initial loss, and accuracy after {options.epochs} epochs", rows, options.save)


def _train(
    sizes: tuple[int, ...], start: str, lr: float | None, seed: int, data: Dataset, options: argparse.Namespace
) -> dict[str, object]:
    recipe = get_recipe("modern", lr)
    x, y = data.x_train[: options.examples], data.y_train[: options.examples]
    few = x[:LOSS_EXAMPLES], y[:LOSS_EXAMPLES]
    network = pn.ParticleNetwork(
        sizes,
        options.dim,
        dipole_dim=options.dipole_dim,
        initialisation=start,
        activation=recipe.activation,
        shared=not options.unshared,
        seed=seed,
        backend="numpy",
    )
    row: dict[str, object] = {
        "topology": "-".join(map(str, sizes)),
        "start": start,
        "n": options.dim,
        "d": options.dipole_dim,
        "shared": not options.unshared,
        "parameters": network.num_parameters,
        "optimizer": repr(recipe.optimizer),
        "epochs": options.epochs,
        "examples": len(x),
        "seed": seed,
        "drawn_loss": network.evaluate(*few)["loss"],
    }
    calibrated = network.copy()
    if start == "scaled":
        calibrated.calibrate(x[:BATCH_SIZE])
    row["start_loss"] = calibrated.evaluate(*few)["loss"]
    dense = pn.DenseNetwork(sizes, activation=recipe.activation, seed=seed, backend="numpy")
    row["dense_loss"] = dense.evaluate(*few)["loss"]
    try:
        history = network.fit(
            x, y, epochs=options.epochs, batch_size=BATCH_SIZE, seed=seed, progress=False, **recipe.fit_options
        )
    except TrainingDiverged:
        return row | {"train_loss": "diverged", "test_accuracy": "", "seconds": ""}
    return row | {
        "train_loss": history["loss"][-1],
        "test_accuracy": network.evaluate(data.x_test, data.y_test)["accuracy"],
        "seconds": round(sum(history["seconds"]), 1),
    }
