"""Sensors dropped, moved and on other grids, without retraining: particles with known places beside a dense network.

python -m bench sensors --data DIR             everything, minutes on one core
python -m bench sensors --sets mnist1d
python -m bench sensors --report               table and picture of what there is

Networks of one hidden layer are trained on a grid of sensors (the pixels of MNIST, the samples of mnist1d), then asked
about sensors elsewhere, which read the field where they are, by linear interpolation. A particle network holds the
places as fixed positions and gets other input particles by `pn_gpu.with_inputs`; a dense one of as many hidden units
gets its old inputs by interpolation, or constants for what is missing. Either gets the same search, of six settings.
Every network is trained once and becomes lines of sensors.csv; what has lines is not trained again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from bench.equal_parameters_data import Split, load_split
from bench.harness import RESULTS, machine
from bench.result_lines import check_counts, check_output, read_lines, write_lines
from bench.sensors_fields import SHAPES, changes
from bench.sensors_networks import NETWORKS, Setting, accuracies, search, train
from bench.sensors_report import write_report

# Epochs of a training to the end; a trial of the search takes a third of them.
EPOCHS = {"mnist": 4, "mnist1d": 60}
TRIAL_SHARE = 3
COLUMNS = (
    *("data", "network", "seed", "kind", "amount", "sensors", "rule", "test_accuracy"),
    *("parameters", "fixed", "rate", "decay", "half_width", "epochs", "cpu", "python", "numpy"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with MNIST's IDX files, or mnist (default)")
    parser.add_argument("--sets", default=",".join(SHAPES), help=f"default: {','.join(SHAPES)}")
    parser.add_argument("--seeds", type=int, default=3, help="networks of either kind (default: 3)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--report", action="store_true", help="train nothing: write the table of what there is")


def run(options: argparse.Namespace) -> None:
    """Train what is missing, then write the table and the picture."""
    check_output(options)
    check_counts(options, seeds=1)
    sets = [part.strip() for part in options.sets.split(",")]
    if not set(sets) <= set(SHAPES):
        raise ValueError(f"--sets: got {options.sets!r}, want some of {','.join(SHAPES)}")
    results = options.output / "sensors.csv"
    if not options.report:
        for data in sets:
            _train_missing(data, load_split(data, options.data), options.seeds, results)
    print(write_report(read_lines(results, COLUMNS), options.output))


def _train_missing(data: str, split: Split, seeds: int, results: Path) -> None:
    for kind in NETWORKS:
        for seed in range(seeds):
            rows = read_lines(results, COLUMNS)
            own = [row for row in rows if (row["data"], row["network"]) == (data, kind)]
            if any(int(row["seed"]) == seed for row in own):
                continue
            if own:
                setting = Setting(*(float(own[0][name]) for name in Setting._fields))
            else:
                setting = search(kind, data, split, max(EPOCHS[data] // TRIAL_SHARE, 1))
            write_lines(results, COLUMNS, rows + _measure(kind, data, split, setting, seed))


def _measure(kind: str, data: str, split: Split, setting: Setting, seed: int) -> list[dict[str, str]]:
    start = time.perf_counter()
    network, accuracy = train(kind, data, split, setting, EPOCHS[data], seed)
    fixed = sum(value.size for value in network.parameters.fixed.values())
    common = {"data": data, "network": kind, "seed": seed, "parameters": network.num_parameters, "fixed": fixed}
    common |= setting._asdict() | {"epochs": EPOCHS[data]} | machine()
    rows = []
    for change in changes(data, seed):
        for rule, found in accuracies(kind, network, data, split, setting, change).items():
            row = common | {"kind": change.kind, "amount": change.amount, "sensors": len(change.places)}
            row |= {"rule": rule, "test_accuracy": f"{found:.4f}"}
            rows.append({name: str(row[name]) for name in COLUMNS})
    seconds = time.perf_counter() - start
    print(f"{data} {kind} seed {seed}: test {accuracy:.2%} at home, {setting}, {seconds:.0f} s", flush=True)
    return rows
