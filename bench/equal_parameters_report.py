"""The results of `bench equal_parameters`: as text, as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.harness import new_figure, save_picture
from bench.result_lines import write_markdown

Row = dict[str, str]
# Kinds of networks by how the names of their families begin, the first that fits; of several makes of a kind the best
# is drawn. Colours told apart by everybody (Okabe and Ito, 2008).
KINDS = {
    "particles with a field": ("#882255", "P"),
    "particles with places": ("#d55e00", "o"),
    "particles shared": ("#e69f00", "s"),
    "particles": ("#a03800", "^"),
    "monarch": ("#0072b2", "D"),
    "pruned": ("#56b4e9", "v"),
    "hashed": ("#009e73", "<"),
    "circulant": ("#7f7f00", ">"),
    "FedPara": ("#cc79a7", "p"),
    "low rank": ("#777777", "h"),
    "dense": ("#000000", "*"),
    "1 / distance": ("#bbbbbb", "X"),
}
# Errors of more than this would leave no room for the others.
LARGEST_ERROR = {"mnist": 20.0, "segments": 6.0}
PARAMETER_TICKS, ERROR_TICKS = (1500, 3000, 5000, 10_000, 50_000), (1, 1.5, 2, 3, 4, 6, 10, 20, 30, 40, 60)
HEADER = ("budget", "family", "parameters", "hidden", "test %", "seeds", "step ms", "step MB")


class Cell(NamedTuple):
    """All seeds of one family at one budget: accuracies in percent; cost of a step where it was measured."""

    family: str
    budget: int
    parameters: int
    hidden: int
    accuracies: np.ndarray
    field: str
    step_ms: str
    step_mb: str

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
    write_markdown(folder / "equal_parameters.md", _markdown(sections, rows))
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
            f" ({group[0]['size']} places along an axis, d={group[0]['dipole_dim']})" if group[0]["dipole_dim"] else "",
            _rounded(group[0]["step_alone_ms"], 2),
            _rounded(group[0]["step_mb"], 1),
        )
        for (budget, family), group in groups.items()
    ]
    return sorted(cells, key=lambda cell: (cell.budget, -cell.mean))


def _rounded(text: str, digits: int) -> str:
    return f"{float(text):.{digits}f}" if text else ""


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
        "Particles with places know where the inputs lie, on a grid whose positions are neither trained nor counted;"
        " the others do not. With a field their dipoles are interpolated between the places of a coarser grid, which"
        " the search chooses.",
        "A step is one of training on 100 examples, of one network in a process of its own: the time below which"
        " a tenth of 60 lie, since the machine had other work, and resident memory at the worst moment beyond libraries"
        " and examples; network, gradient and Adam's state count.",
    ]
    for data, cells in sections.items():
        lines += ["", f"## {data}", "", f"| {' | '.join(HEADER)} |", "| ---: | --- |" + " ---: |" * (len(HEADER) - 2)]
        lines += [
            f"| {c.budget:,} | {c.family}{c.field} | {c.parameters:,} | {c.hidden} | {c.mean:.2f} ± {c.spread:.2f} |"
            f" {len(c.accuracies)} | {c.step_ms} | {c.step_mb} |"
            for c in cells
        ]
        lines += ["", *(f"- {line}" for line in _verdicts(cells))]
    lines += ["", f"{', '.join(_unique(rows, 'cpu'))}, one thread; torch {', '.join(_unique(rows, 'torch'))}."]
    return "\n".join(lines) + "\n"


def _kind(family: str) -> str:
    return next(kind for kind in KINDS if family.startswith(kind))


def _draw(sections: dict[str, list[Cell]], folder: Path) -> None:
    figure = new_figure(4.2 * len(sections) + 1.8, 4.2)
    if figure is None:
        return
    for axes, (data, cells) in zip(figure.subplots(1, len(sections), squeeze=False)[0], sections.items(), strict=True):
        _draw_section(axes, data, cells)
    figure.axes[0].set_ylabel("test error, %")
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    known = {kind: handles[kind] for kind in KINDS if kind in handles}
    figure.legend(known.values(), known.keys(), loc="outside right center", fontsize=8)
    save_picture(figure, folder / "equal_parameters")


def _draw_section(axes: Any, data: str, cells: Sequence[Cell]) -> None:
    for kind, (colour, marker) in KINDS.items():
        of_kind = [cell for cell in cells if _kind(cell.family) == kind]
        best = [max((c for c in of_kind if c.budget == b), key=lambda c: c.mean) for b in {c.budget for c in of_kind}]
        own = sorted((c for c in best if 100 - c.mean <= LARGEST_ERROR.get(data, 100)), key=lambda c: c.parameters)
        if not own:
            continue
        ours = kind.startswith("particles")
        axes.errorbar(
            [c.parameters for c in own],
            [100 - c.mean for c in own],
            [c.spread for c in own],
            color=colour,
            marker=marker,
            ms=6,
            lw=2.0 if ours else 1.0,
            ls="-" if ours else "--",
            capsize=2,
            label=kind,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, ticks in (
        (axes.xaxis, sorted({cell.budget for cell in cells})),
        (axes.yaxis, (1, 2, 3, 4, 6, 10, 20, 30, 40, 60)),
    ):
        low, high = axis.get_view_interval()
        shown = [tick for tick in ticks if low <= tick <= high]
        axis.set_ticks(shown, [f"{tick:,}" for tick in shown])
        axis.set_ticks([], minor=True)
    axes.set_xlabel("parameters")
    axes.set_title(data)
    axes.grid(alpha=0.25, lw=0.5)
