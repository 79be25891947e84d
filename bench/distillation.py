"""A trained dense network replaced by particles, layer by layer, and trained on from there.

python -m bench distillation --data DIR        half an hour on one core
python -m bench distillation --report          table of what there is

Every `nn.Linear` of a perceptron trained on MNIST is replaced by the particle layer whose weights come nearest to its
own (`ParticleLinear.from_linear`). The students then learn for as many steps in four ways: from the fit, matching the
dense network's outputs; the same after a third of the steps in which every layer matches its layer's outputs; and from
a fresh start, matching these outputs or the labels. Each way has the same search of its peak rate, judged by examples
held back. Every student becomes a line of distillation.csv; what has lines is not trained again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.distillation_report import write_report
from bench.equal_parameters_data import Split, load_split
from bench.harness import RESULTS, machine
from bench.result_lines import check_counts, check_output, read_lines, write_lines

NETWORKS = ("784-64-10", "784-256-128-10")
DIMS = ((2, 4), (3, 3), (1, 8))
WAYS = ("fit, outputs", "fit, hidden outputs first", "fresh, outputs", "fresh, labels")
RATES = (0.003, 0.01, 0.03)
TEACHER_RATE, BATCH_SIZE = 0.003, 100
COLUMNS = (
    *("network", "dim", "dipole_dim", "seed", "stage", "test_accuracy", "rate", "steps", "parameters"),
    *("errors", "low_rank_errors", "cpu", "python", "numpy", "torch"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with MNIST's IDX files, or mnist (default)")
    parser.add_argument("--networks", default=",".join(NETWORKS), help=f"default: {','.join(NETWORKS)}")
    parser.add_argument("--seeds", type=int, default=2, help="(default: 2)")
    parser.add_argument("--teacher-epochs", type=int, default=4, help="of a dense network (default: 4)")
    parser.add_argument("--epochs", type=int, default=1, help="of a student; a trial takes a third (default: 1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--report", action="store_true", help="train nothing: write the table of what there is")


def run(options: argparse.Namespace) -> None:
    """Train what is missing, then write the table."""
    check_output(options)
    check_counts(options, seeds=1, teacher_epochs=1, epochs=1)
    results = options.output / "distillation.csv"
    if not options.report:
        sizes = [_sizes(text) for text in options.networks.split(",")]
        _train_missing(options, load_split("mnist", options.data), sizes, results)
    print(write_report(read_lines(results, COLUMNS), options.output))


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split("-")]
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--networks: got {text!r}, want numbers of nodes such as 784-64-10")
    return tuple(map(int, parts))


def _train_missing(options: argparse.Namespace, split: Split, networks: list[tuple[int, ...]], results: Path) -> None:
    import torch

    torch.set_num_threads(1)
    steps = options.epochs * (len(split.x_train) // BATCH_SIZE)
    for sizes in networks:
        if (sizes[0], sizes[-1]) != split.sizes:
            raise ValueError(f"--networks: got {'-'.join(map(str, sizes))}, want {split.sizes} inputs and outputs")
        for seed in range(options.seeds):
            rows = read_lines(results, COLUMNS)
            done = {
                (int(r["dim"]), int(r["dipole_dim"]))
                for r in rows
                if (r["network"], int(r["seed"])) == ("-".join(map(str, sizes)), seed)
            }
            for dims in (dims for dims in DIMS if dims not in done):
                rows = read_lines(results, COLUMNS)
                write_lines(
                    results, COLUMNS, rows + _measure(sizes, dims, seed, split, options.teacher_epochs, steps, rows)
                )


def _measure(
    sizes: tuple[int, ...],
    dims: tuple[int, int],
    seed: int,
    split: Split,
    teacher_epochs: int,
    steps: int,
    known: list[dict[str, str]],
) -> list[dict[str, str]]:
    """The lines of one dense network and one make of particles."""
    from bench.distillation_training import accuracy, fresh_student, replaced, train_student, train_teacher

    start, name = time.perf_counter(), "-".join(map(str, sizes))
    common = {"network": name, "dim": dims[0], "dipole_dim": dims[1], "seed": seed} | machine()
    rows: list[dict[str, str]] = []

    def add(stage: str, network: Any, **more: object) -> None:
        row = common | {"stage": stage, "test_accuracy": f"{accuracy(network, split):.4f}"}
        row |= {"parameters": sum(p.numel() for p in network.parameters())} | more
        rows.append({column: str(row.get(column, "")) for column in COLUMNS})

    teacher = train_teacher(sizes, split, teacher_epochs, TEACHER_RATE, seed)
    add("dense", teacher)
    layers = len(list(pairwise(sizes)))
    fitted = replaced(teacher, dims, layers, seed)
    for count in range(1, layers + 1):
        student = replaced(teacher, dims, count, seed, fitted)
        fits = [layer.dense_fit for layer in student[: 2 * count : 2]]
        errors = {
            column: " ".join(f"{getattr(fit, column)[0]:.3f}" for fit in fits)
            for column in ("errors", "low_rank_errors")
        }
        add(f"fit, {count} of {layers} replaced", student, **errors)
    makers = {
        "fit": lambda: replaced(teacher, dims, layers, seed, fitted),
        "fresh": lambda: fresh_student(sizes, dims, split, seed),
    }
    for way in WAYS:
        make = makers[way.split(",")[0]]
        rate = _known_rate(known, common, way) or _search(make, teacher, split, way, steps, seed)
        add(way, train_student(make(), teacher, split, way, rate, steps, seed), rate=rate, steps=steps)
    found = ", ".join(f"{row['stage']} {100 * float(row['test_accuracy']):.1f}" for row in rows)
    print(f"{name} {dims} seed {seed}: {found}; {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def _known_rate(known: list[dict[str, str]], common: dict[str, object], way: str) -> float | None:
    """What the search of another seed found."""
    wanted = [str(common[name]) for name in ("network", "dim", "dipole_dim")] + [way]
    for row in known:
        if [row[name] for name in ("network", "dim", "dipole_dim", "stage")] == wanted:
            return float(row["rate"])
    return None


def _search(make: Callable[[], Any], teacher: Any, split: Split, way: str, steps: int, seed: int) -> float:
    """The best rate by examples held back from training, in a third of the steps."""
    from bench.distillation_training import accuracy, train_student

    held, few = split.for_search(), max(steps // 3, 1)
    scores = {rate: accuracy(train_student(make(), teacher, held, way, rate, few, seed), held) for rate in RATES}
    return max(scores, key=scores.__getitem__)
