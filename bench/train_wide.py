"""Wide networks trained to the end: 784-H-H-10 as particles (method auto) and as a dense MLP in torch.

The two take turns all through the training: a block of particle steps, then about as much time of dense ones, so that
both meet the same disturbances and every epoch has a ratio of its own. The dense MLP thus gets the same time; its
schedule is as long as the steps that fit into it. Its peak learning rate is the best of --dense-rates in short races.

python -m bench train_wide --data DIR                              H = 512, 1024, 2048, 4096
python -m bench train_wide --data DIR --widths 4096 --epochs 10
python -m bench train_wide --report                                the picture of what there is

An epoch of both is two lines of train_wide.csv, written as soon as it is finished; a width that was cut off goes on
from its last epoch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.harness import RESULTS, in_fresh_process
from bench.result_lines import check_output
from bench.train_wide_data import BATCH_SIZE
from bench.train_wide_dense import DenseTraining, best_rate
from bench.train_wide_report import draw, read_rows
from bench.train_wide_turns import Turns, peak_mb, trial_seconds
from pn_gpu.data import Dataset, load
from pn_gpu.files import replacing
from pn_gpu.planning.calibration import machine_costs
from pn_gpu.training.recipes import get_recipe

HELP = "wide networks trained to the end beside a dense MLP: time, accuracy, memory"
CHECKPOINTS = ".train_wide"
LEAST_DENSE_STEPS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with the IDX files, or mnist (default)")
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 1024, 2048, 4096], help="H (default: all four)")
    parser.add_argument("--dim", type=int, default=1, help="dimensions n of the positions (default: 1)")
    parser.add_argument("--dipole-dim", type=int, default=8, help="dimensions d of the dipoles (default: 8)")
    parser.add_argument("--unshared", action="store_true", help="node sets of its own for every layer")
    parser.add_argument("--epochs", type=int, default=10, help="of the particles (default: 10)")
    parser.add_argument("--examples", type=int, help="training examples (default: all)")
    parser.add_argument("--lr", type=float, help="the particles' peak learning rate (default: the modern recipe's)")
    parser.add_argument(
        "--dense-rates", type=float, nargs="+", default=[0.0003, 0.001, 0.003], help="peak rates that race for dense"
    )
    parser.add_argument("--race-steps", type=int, default=100, help="dense steps of a race (default: 100)")
    parser.add_argument("--block", type=int, default=50, help="particle steps between dense ones (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--report", action="store_true", help="train nothing: draw what there is")


def run(options: argparse.Namespace) -> None:
    """Train every width that has no full set of lines, then draw."""
    table = options.output / "train_wide.csv"
    check_output(options)
    if not options.report:
        machine_costs(np.empty(0, np.float32))  # measured now, or the first plan would take the time for it
        data = load(options.data)
        for width in options.widths:
            _train(width, data, options, table)
    draw(read_rows(table), options.output / "train_wide")


def _train(width: int, data: Dataset, options: argparse.Namespace, table: Path) -> None:
    sizes = [data.num_features, width, width, data.num_outputs]
    x, y = data.x_train[: options.examples], data.y_train[: options.examples]
    recipe = get_recipe("modern", options.lr)
    network = pn.ParticleNetwork(
        sizes,
        options.dim,
        dipole_dim=options.dipole_dim,
        activation=recipe.activation,
        shared=not options.unshared,
        seed=options.seed,
        backend="numpy",
    )
    make = f"n{options.dim}-d{options.dipole_dim}{'-unshared' if options.unshared else ''}"
    name = f"{'-'.join(map(str, sizes))}-{make}-seed{options.seed}-epochs{options.epochs}"
    done = {row.epoch for row in read_rows(table) if row.run == name}
    if set(range(1, options.epochs + 1)) <= done:
        print(f"{name}: done before", flush=True)
        return
    folder = options.output / CHECKPOINTS
    folder.mkdir(exist_ok=True)
    plan = _plan(folder / f"{name}.json", network, x, y, options)
    blocks = -(-len(x) // (BATCH_SIZE * options.block)) * options.epochs
    turns = Turns(
        name,
        x,
        y,
        data.x_test,
        data.y_test,
        DenseTraining(sizes, plan["lr"], plan["dense_block"] * blocks, options.seed),
        block=options.block,
        dense_block=plan["dense_block"],
        table=table,
        folder=folder,
        peaks=plan["peaks"],
        seed=options.seed,
    )
    network.fit(
        turns,
        epochs=options.epochs,
        callbacks=[turns],
        checkpoint=folder / f"{name}.safetensors",
        resume=True,
        seed=options.seed,
        progress=False,
        **recipe.fit_options,
    )


def _plan(
    path: Path, network: pn.ParticleNetwork, x: np.ndarray, y: np.ndarray, options: argparse.Namespace
) -> dict[str, Any]:
    """What was measured before the training, once: dense rate, dense steps of a turn, peak memory of both."""
    if path.exists():
        return json.loads(path.read_text())
    sizes = list(network.sizes)
    lr, losses = best_rate(sizes, x, y, options.dense_rates, options.race_steps)
    print(f"{path.stem}: dense rates and losses after {options.race_steps} steps: {losses}", flush=True)
    particle_seconds, dense_seconds = trial_seconds(network, sizes, x, y)
    plan = {
        "lr": lr,
        "dense_block": max(round(options.block * particle_seconds / dense_seconds), LEAST_DENSE_STEPS),
        "peaks": [in_fresh_process(peak_mb, network.architecture()), in_fresh_process(peak_mb, sizes)],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plan))
    return plan
