"""Small tables: the defaults of `pn-gpu train` beside those of scikit-learn's perceptron.

python -m bench tables                        all six tables, 5 seeds; writes results/tables.csv and tables.md
python -m bench tables --data wine cars       some of them
python -m bench tables --seeds 20 --first-seed 100    other splits, to try recipes on without looking at the above

A seed says which fifth of the rows is held back, and how the networks start. All see the same rows; scikit-learn gets
words as columns of 0 and 1, and missing values as the mean of the training rows, as the particle network does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.harness import RESULTS
from bench.tables_data import TABLES, write_table
from bench.tables_providers import PROVIDERS, Score
from bench.tables_report import write_csv, write_report
from pn_gpu.data import load_table

HELP = "small tables: the defaults of pn-gpu train beside scikit-learn's perceptron"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", nargs="+", choices=list(TABLES), default=list(TABLES), help="default: all")
    parser.add_argument("--providers", nargs="+", choices=list(PROVIDERS), default=list(PROVIDERS), help="default: all")
    parser.add_argument("--seeds", type=int, default=5, help="splits (default: 5)")
    parser.add_argument("--first-seed", type=int, default=0, help="number of the first split (default: 0)")
    parser.add_argument("--output", type=Path, help="a .csv file; the report lies beside it (default: only if all ran)")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write what was measured."""
    scores: list[Score] = []
    for name in options.data:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            scores += _measure(name, seed, options.providers)
        for line in write_report([score for score in scores if score.data == name]).splitlines()[2:]:
            print(line, flush=True)
    complete = options.data == list(TABLES) and options.providers == list(PROVIDERS) and options.first_seed == 0
    output = options.output or (RESULTS / "tables.csv" if complete else None)
    if output is not None:
        write_csv(scores, output)
        output.with_suffix(".md").write_text(write_report(scores), encoding="utf-8")
        print(f"wrote {output} and {output.with_suffix('.md').name}")


def _measure(name: str, seed: int, providers: list[str]) -> list[Score]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_table(name, Path(folder))
        scaled = load_table(path, target=TABLES[name].target, seed=seed)
        plain = load_table(path, target=TABLES[name].target, seed=seed, scale="none")
    scores = []
    for provider in providers:
        measured = PROVIDERS[provider](scaled, plain, seed)
        if measured is not None:
            measure = "accuracy" if scaled.num_classes else "R2"
            scores.append(Score(name, measure, provider, seed, *measured))
    return scores
