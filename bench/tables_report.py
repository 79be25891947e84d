"""What was measured on small tables: the file, and a report in Markdown."""

from __future__ import annotations

import csv
import platform
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path

import numpy as np

from bench.tables_providers import OURS, RIVAL, Score
from pn_gpu.files import replacing

HEADER = """\
| table | trained | parameters | score | beside scaled scikit-learn | seconds |
|---|---|---|---|---|---|
"""

EXPLANATION = """\
# Small tables, by default

`python -m bench tables`: accuracy, or R2 for numbers, on the fifth of the rows that a seed holds back, {seeds} seeds:
mean and its standard error. The fifth column is the mean difference to scikit-learn's perceptron on standardised
inputs, seed by seed, with the standard error of that mean.

{table}
Below scikit-learn's by more than that error: {behind}.

scikit-learn {sklearn}, Python {python}, one process on {machine}. Its regressor does not scale targets by itself; the
last line of a regression has both scaled.
"""


def write_csv(scores: list[Score], path: Path) -> None:
    """A line for every network that was trained."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Score)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            asdict(score) | {"score": f"{score.score:.6f}", "seconds": f"{score.seconds:.2f}"} for score in scores
        )


def write_report(scores: list[Score]) -> str:
    """A table in Markdown of all scores; with an explanation if there is more than one table of data."""
    table = HEADER + "".join(_lines(scores))
    if len({score.data for score in scores}) == 1:
        return table
    return EXPLANATION.format(
        seeds=len({score.seed for score in scores}),
        table=table,
        behind=_behind(scores),
        sklearn=metadata.version("scikit-learn"),
        python=platform.python_version(),
        machine=platform.machine(),
    )


def _lines(scores: list[Score]) -> list[str]:
    lines = []
    for data in dict.fromkeys(score.data for score in scores):
        of_data = [score for score in scores if score.data == data]
        rival = np.array([score.score for score in of_data if score.provider == RIVAL])
        for provider in dict.fromkeys(score.provider for score in of_data):
            mine = [score for score in of_data if score.provider == provider]
            values = np.array([score.score for score in mine])
            beside = "" if provider == RIVAL or not len(rival) else _mean_and_error(values - rival, signed=True)
            lines.append(
                f"| {data}, {mine[0].measure} | {provider} | {mine[0].parameters:,} | {_mean_and_error(values)} |"
                f" {beside} | {np.median([score.seconds for score in mine]):.2f} |\n"
            )
    return lines


def _behind(scores: list[Score]) -> str:
    """Where a network of ours, as it comes, does worse than the rival by more than a standard error."""
    places = []
    for data in dict.fromkeys(score.data for score in scores):
        by_provider = {
            name: np.array([score.score for score in scores if (score.data, score.provider) == (data, name)])
            for name in (*OURS, RIVAL)
        }
        for name in OURS:
            if len(by_provider[name]) < 2 or len(by_provider[name]) != len(by_provider[RIVAL]):
                continue
            difference = by_provider[name] - by_provider[RIVAL]
            # One row missed in one split only is exactly one error below: rounding must not decide.
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            if difference.mean() < -error and not np.isclose(difference.mean(), -error):
                places.append(f"{name} on {data}")
    return "; ".join(places) or "nothing"


def _mean_and_error(values: np.ndarray, signed: bool = False) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():{'+' if signed else ''}.4f} ± {error:.4f}"
