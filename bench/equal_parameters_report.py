"""The results of `bench equal_parameters`: as text, as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.harness import new_figure, save_picture
from pn_gpu.files import replacing

Row = dict[str, str]
# Told apart by everybody (Okabe and Ito, 2008), and darker ones of the same where there are more.
COLOURS = (
    *("#e69f00", "#56b4e9", "#009e73", "#c8b400", "#0072b2", "#d55e00", "#cc79a7", "#000000"),
    *("#7f5800", "#1f5f80", "#004d38", "#803800", "#777777"),
)
MARKERS = "os^Dv<>ph*XPd"
HEADER = ("budget", "family", "parameters", "hidden", "test %", "seeds", "step ms")


class Cell(NamedTuple):
    """All seeds of one family at one budget: accuracies in percent."""

    family: str
    budget: int
    parameters: int
    hidden: int
    accuracies: np.ndarray
    step_ms: float

    @property
    def mean(self) -> float:
        return float(self.accuracies.mean())

    @property
    def spread(self) -> float:
        """Sample standard deviation; 0 for one seed."""
        return float(self.accuracies.std(ddof=1)) if len(self.accuracies) > 1 else 0.0


def write_report(rows: Sequence[Row], folder: Path) -> str:
    """Write equal_parameters.md, .png and .svg into ``folder``; returns the tables as text."""
    if not rows:
        return "equal_parameters: no results yet"
    sections = {data: _cells([row for row in rows if row["data"] == data]) for data in _unique(rows, "data")}
    with replacing(folder / "equal_parameters.md") as temporary:
        temporary.write_text(_markdown(sections, rows), encoding="utf-8")
    _draw(sections, folder)
    return "\n\n".join(f"{data}\n" + "\n".join(_verdicts(cells)) for data, cells in sections.items())


def _unique(rows: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows))


def _cells(rows: Sequence[Row]) -> list[Cell]:
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if row["test_accuracy"]:
            groups.setdefault((int(row["budget"]), row["family"]), []).append(row)
    cells = [
        Cell(
            family,
            budget,
            int(group[0]["parameters"]),
            int(group[0]["hidden"]),
            100 * np.array([float(row["test_accuracy"]) for row in group]),
            float(np.median([float(row["step_ms"]) for row in group])),
        )
        for (budget, family), group in groups.items()
    ]
    return sorted(cells, key=lambda cell: (cell.budget, -cell.mean))


def _is_particles(cell: Cell) -> bool:
    return cell.family.startswith("particles")


def _verdicts(cells: Sequence[Cell]) -> list[str]:
    """For every budget: the best particle network beside the best of the others."""
    lines = []
    for budget in dict.fromkeys(cell.budget for cell in cells):
        at = [cell for cell in cells if cell.budget == budget]
        ours = next((cell for cell in at if _is_particles(cell)), None)
        theirs = next((cell for cell in at if not _is_particles(cell)), None)
        parts = [
            f"{cell.family} {cell.mean:.2f} ± {cell.spread:.2f} % ({cell.parameters:,})" if cell else "none fits"
            for cell in (ours, theirs)
        ]
        lines.append(f"{budget:,} parameters: particles: {parts[0]}; best other: {parts[1]}")
    return lines


def _markdown(sections: dict[str, list[Cell]], rows: Sequence[Row]) -> str:
    lines = [
        "# Accuracy at equal numbers of parameters",
        "",
        "Written by `python -m bench equal_parameters`; every network is a line of `equal_parameters.csv`.",
        f"Test accuracy in percent, mean ± sample standard deviation over the seeds, after a search of"
        f" {_unique(rows, 'trials')[0]} settings for every family and budget; the best family of a budget comes first.",
    ]
    for data, cells in sections.items():
        lines += ["", f"## {data}", "", f"| {' | '.join(HEADER)} |", "| ---: | --- |" + " ---: |" * (len(HEADER) - 2)]
        lines += [
            f"| {c.budget:,} | {c.family} | {c.parameters:,} | {c.hidden} | {c.mean:.2f} ± {c.spread:.2f} |"
            f" {len(c.accuracies)} | {c.step_ms:.2f} |"
            for c in cells
        ]
        lines += ["", *(f"- {line}" for line in _verdicts(cells))]
    lines += ["", f"{', '.join(_unique(rows, 'cpu'))}, one thread; torch {', '.join(_unique(rows, 'torch'))}."]
    return "\n".join(lines) + "\n"


def _draw(sections: dict[str, list[Cell]], folder: Path) -> None:
    figure = new_figure(5.2 * len(sections), 4.4)
    if figure is None:
        return
    for axes, (data, cells) in zip(figure.subplots(1, len(sections), squeeze=False)[0], sections.items(), strict=True):
        _draw_section(axes, data, cells)
    figure.axes[0].set_ylabel("test error, %")
    figure.axes[-1].legend(loc="upper right", fontsize=7)
    save_picture(figure, folder / "equal_parameters")


def _draw_section(axes: Any, data: str, cells: Sequence[Cell]) -> None:
    for index, family in enumerate(dict.fromkeys(sorted(cell.family for cell in cells))):
        own = sorted((c for c in cells if c.family == family), key=lambda c: c.parameters)
        ours = _is_particles(own[0])
        axes.errorbar(
            [c.parameters for c in own],
            [100 - c.mean for c in own],
            [c.spread for c in own],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            ms=5,
            lw=1.8 if ours else 0.9,
            ls="-" if ours else "--",
            capsize=2,
            label=family,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("parameters")
    axes.set_title(data)
    axes.grid(which="both", alpha=0.25, lw=0.5)
