"""Particle layers beside the usual ways to save parameters, at equal numbers of parameters.

python -m bench equal_parameters --data DIR                      everything: hours on one core
python -m bench equal_parameters --sets mnist1d --budgets 1500,3000
python -m bench equal_parameters --sets digits --budgets 500,1500
python -m bench equal_parameters --steps                         time and memory of a step, where a line lacks them
python -m bench equal_parameters --report                        table and picture of what there is

Every family of networks with one hidden layer gets the same search (the best of as many random settings of its width,
peak rate and start, judged by examples held back from training), then is trained with several seeds. Every network
that is trained to the end becomes a line of equal_parameters.csv; what has a line is not trained again. A time in
step_ms was taken in training; step_alone_ms and step_mb are those of one process for each network, one after another.
"""

from __future__ import annotations

import argparse
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from bench.equal_parameters_data import DATA_SETS, FEATURES_AND_CLASSES, Split, load_split
from bench.equal_parameters_report import write_report
from bench.harness import RESULTS, in_fresh_process, machine
from bench.result_lines import check_counts, check_output, grouped, read_lines, write_lines

BUDGETS = (1500, 3000, 5000, 10_000, 50_000)
# Epochs of a training to the end; a trial of the search takes a third of them.
EPOCHS = {"mnist": 12, "mnist1d": 60, "digits": 100, "segments": 100}
TRIAL_SHARE = 3


class Task(NamedTuple):
    """A family at a budget on a data set."""

    data: str
    budget: int
    family: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with MNIST's IDX files, or mnist (default)")
    parser.add_argument("--sets", default=",".join(DATA_SETS), help=f"default: {','.join(DATA_SETS)}")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="parameters, separated by commas")
    parser.add_argument("--families", help="names, separated by commas (default: all)")
    parser.add_argument("--trials", type=int, default=8, help="settings that a search tries (default: 8)")
    parser.add_argument("--seeds", type=int, default=3, help="networks of the best setting (default: 3)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--steps", action="store_true", help="train nothing: measure a step of every network")
    parser.add_argument("--report", action="store_true", help="train nothing: write the table of what there is")


def run(options: argparse.Namespace) -> None:
    """Train what is missing, then write the table and the picture."""
    check_output(options)
    results = options.output / "equal_parameters.csv"
    if options.steps:
        _measure_steps(options, results)
    elif not options.report:
        check_counts(options, trials=1, seeds=1)
        _train_missing(options, results)
    print(write_report(read_lines(results, COLUMNS, ADDED), options.output))


def _train_missing(options: argparse.Namespace, results: Path) -> None:
    import torch

    torch.set_num_threads(1)  # the layers are small, and a time of one thread is one that can be compared
    for data in _names("--sets", options.sets, list(DATA_SETS)):
        split = load_split(data, options.data)
        for task in _tasks(options, data):
            rows = read_lines(results, COLUMNS, ADDED)
            done = {int(row["seed"]) for row in rows if _task_of(row) == task}
            missing = [seed for seed in range(options.seeds) if seed not in done]
            if missing:
                new = _train_task(task, split, options.trials, missing)
                write_lines(results, COLUMNS, rows + new)


def _measure_steps(options: argparse.Namespace, results: Path) -> None:
    from bench.compressed import Shape
    from bench.equal_parameters_step import measure_step

    rows = read_lines(results, COLUMNS, ADDED)
    sets = _names("--sets", options.sets, list(DATA_SETS))
    wanted = {task for data in sets for task in _tasks(options, data)}
    chosen = [row for row in rows if _task_of(row) in wanted and row["hidden"] and not row["step_mb"]]
    for (data, family, *shape), group in grouped(chosen, "data", "family", "hidden", "size", "dipole_dim").items():
        sizes = FEATURES_AND_CLASSES[data]
        cost = in_fresh_process(measure_step, family, Shape(*(int(number or 0) for number in shape)), *sizes)
        for row in group:
            row |= {"step_alone_ms": f"{cost.ms:.3f}", "step_mb": f"{cost.mb:.2f}"}
        write_lines(results, COLUMNS, rows)
        print(f"{data} {family} {shape[0]} hidden nodes: {cost.ms:.2f} ms, {cost.mb:.2f} MB", flush=True)


def _tasks(options: argparse.Namespace, data: str) -> list[Task]:
    from bench.compressed import FAMILIES

    families = _names("--families", options.families, list(FAMILIES)) if options.families else list(FAMILIES)
    budgets = [int(part) for part in _names("--budgets", options.budgets)]
    return [Task(data, budget, family) for budget in budgets for family in families]


def _train_task(task: Task, split: Split, trials: int, seeds: list[int]) -> list[dict[str, str]]:
    """The lines of one task; one line without an accuracy where no network fits the budget."""
    from bench.compressed import FAMILIES
    from bench.equal_parameters_training import search, train

    family, epochs, start = FAMILIES[task.family], EPOCHS[task.data], time.perf_counter()
    search_seed = zlib.crc32(repr(task).encode()) % 2**31
    setting = search(family, task.budget, split, trials, max(epochs // TRIAL_SHARE, 1), search_seed)
    if setting is None:
        print(f"{task.data} {task.budget:,} {task.family}: no network fits", flush=True)
        return [_row(task, seed=seed, trials=trials) for seed in seeds]
    rows = []
    for seed in seeds:
        outcome = train(family, setting, task.budget, split, epochs, seed)
        rows.append(
            _row(
                task,
                seed=seed,
                trials=trials,
                parameters=family.parameters(*split.sizes, setting.shape),
                hidden=setting.shape.hidden,
                size=setting.shape.size,
                dipole_dim=setting.shape.dipole_dim or "",
                rate=f"{setting.rate:.4g}",
                gain=setting.gain,
                epochs=epochs,
                test_accuracy=f"{outcome.accuracy:.4f}",
                step_ms=f"{outcome.step_ms:.3f}",
            )
        )
    accuracies = " ".join(f"{100 * float(row['test_accuracy']):.2f}" for row in rows)
    seconds = time.perf_counter() - start
    print(f"{task.data} {task.budget:,} {task.family}: test {accuracies} %, {setting}, {seconds:.0f} s", flush=True)
    return rows


COLUMNS = (
    "data",
    "budget",
    "family",
    "seed",
    "parameters",
    "hidden",
    "size",
    "dipole_dim",
    "rate",
    "gain",
    "trials",
    "epochs",
    "test_accuracy",
    "step_ms",
    "step_alone_ms",
    "step_mb",
    "cpu",
    "python",
    "numpy",
    "torch",
)
# What older files lack.
ADDED = ("dipole_dim", "step_alone_ms", "step_mb")


def _row(task: Task, **values: object) -> dict[str, str]:
    known = task._asdict() | values | {name: machine()[name] for name in COLUMNS[-4:]}
    return {name: str(known.get(name, "")) for name in COLUMNS}


def _task_of(row: dict[str, str]) -> Task:
    return Task(row["data"], int(row["budget"]), row["family"])


def _names(option: str, text: str, choices: list[str] | None = None) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in parts if (not part.isdecimal() if choices is None else part not in choices)]
    if unknown or not parts:
        wanted = "whole numbers" if choices is None else f"some of {','.join(choices)}"
        raise ValueError(f"{option}: got {text!r}, want {wanted}")
    return parts
