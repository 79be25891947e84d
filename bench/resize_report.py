"""The results of `bench resize`: as text, as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.harness import new_figure, save_picture
from bench.result_lines import grouped, write_markdown

Row = dict[str, str]
# Told apart by everybody (Okabe and Ito, 2008).
COLOURS = {
    ("particles", "reconstruction"): "#0072b2",
    ("particles", "influence"): "#56b4e9",
    ("particles", "random"): "#009e73",
    ("particles, shared", "reconstruction"): "#cc79a7",
    ("dense", "reconstruction"): "#000000",
    ("dense", "influence"): "#d55e00",
    ("dense", "random"): "#e69f00",
}


def write_report(rows: Sequence[Row], folder: Path) -> str:
    """Write resize.md, .png and .svg into ``folder``; returns the tables as text."""
    if not rows:
        return "resize: no results yet"
    text = _markdown(rows)
    write_markdown(folder / "resize.md", text)
    _draw(rows, folder)
    return text


def _mean(rows: Sequence[Row], column: str) -> tuple[float, float]:
    """Mean and sample standard deviation in percent, over the seeds."""
    values = np.array([100 * float(row[column]) for row in rows if row[column]])
    if len(values) == 0:
        return float("nan"), 0.0
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _cell(rows: Sequence[Row], column: str) -> str:
    mean, spread = _mean(rows, column)
    return "" if np.isnan(mean) else f"{mean:.2f} ± {spread:.2f}"


def _markdown(rows: Sequence[Row]) -> str:
    lines = [
        "# Networks made smaller and larger after training",
        "",
        "Written by `python -m bench resize`; `resize.csv` has every seed. Test accuracy on MNIST in percent, mean ±"
        " sample standard deviation over the seeds, as it is and after one epoch more.",
        "",
        "| network | change | hidden | parameters | test % | after an epoch | largest change of an output | seeds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (network, change, hidden), group in grouped(rows, "network", "change", "hidden").items():
        difference = max((row["difference"] for row in group), key=lambda text: float(text or 0))
        lines.append(
            f"| {network} | {change} | {hidden} | {int(group[0]['parameters']):,} | {_cell(group, 'test_accuracy')} |"
            f" {_cell(group, 'retrained_accuracy')} | {difference} | {len(group)} |"
        )
    machines = sorted({f"{row['cpu']}, Python {row['python']}, NumPy {row['numpy']}" for row in rows})
    return "\n".join([*lines, "", f"{'; '.join(machines)}."]) + "\n"


def _draw(rows: Sequence[Row], folder: Path) -> None:
    figure = new_figure(9.0, 4.0)
    if figure is None:
        return
    panels = figure.subplots(1, 2, sharey=True)
    groups = grouped(rows, "network", "change", "hidden")
    for axes, (column, title) in zip(
        panels, (("test_accuracy", "as it is"), ("retrained_accuracy", "after one epoch more")), strict=True
    ):
        for (network, change), colour in COLOURS.items():
            points = sorted(
                (int(hidden), *_mean(group, column))
                for (of, by, hidden), group in groups.items()
                if (of, by) in ((network, change), (network, "whole"))
            )
            points = [point for point in points if not np.isnan(point[1])]
            if points:
                hidden, means, spreads = zip(*points, strict=True)
                axes.errorbar(
                    hidden, means, spreads, color=colour, marker="o", ms=4, capsize=2, label=f"{network}: {change}"
                )
        axes.set_title(title)
        axes.set_xlabel("hidden nodes left")
        axes.grid(alpha=0.25, lw=0.5)
    panels[0].set_ylabel("test accuracy, %")
    panels[0].legend(fontsize=7)
    save_picture(figure, folder / "resize")
