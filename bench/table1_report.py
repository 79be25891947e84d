"""Table 1 beside the paper's: as text, as Markdown, and as a picture of accuracy against number of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import new_figure, save_picture
from bench.result_lines import write_markdown
from bench.table1_results import Result

# Accuracy in percent, (train, test), by hidden layers: Table 1 of the paper. Its MLP columns are placeholders.
PAPER: dict[tuple[tuple[int, ...], int], tuple[float, float]] = {
    (hidden, dim): accuracy
    for hidden, *by_dim in (
        ((), (92.4, 92.2), (93.1, 92.6)),
        ((16,), (94.5, 94.2), (96.0, 94.9)),
        ((32,), (95.4, 94.8), (96.5, 95.7)),
        ((64,), (95.8, 95.3), (97.3, 96.2)),
        ((128,), (96.3, 95.4), (97.7, 96.4)),
        ((256,), (96.1, 95.5), (97.7, 96.5)),
        ((512,), (96.3, 95.3), (97.6, 96.7)),
        ((64, 32), (96.5, 95.7), (97.3, 96.1)),
        ((128, 64), (96.3, 95.6), (97.9, 96.6)),
        ((256, 128), (96.4, 95.4), (98.0, 96.6)),
    )
    for dim, accuracy in zip((2, 3), by_dim, strict=True)
}
PAPER_ORDER = list(dict.fromkeys(hidden for hidden, _ in PAPER))

# The aim for a cell: at least the paper's test accuracy minus this.
ALLOWED_SHORTFALL = 0.2


@dataclass(frozen=True)
class Summary:
    """All seeds of one cell: accuracies in percent."""

    topology: str
    hidden: tuple[int, ...]
    dim: int
    parameters: int
    optimizer: str
    num_seeds: int
    train: float
    test: float
    train_spread: float
    test_spread: float

    @property
    def column(self) -> str:
        return f"n = {self.dim}" if self.dim else "MLP"

    @property
    def paper(self) -> tuple[float, float] | None:
        """The paper's (train, test), where it has any."""
        return PAPER.get((self.hidden, self.dim))

    @property
    def gain(self) -> float | None:
        """Test accuracy minus the paper's."""
        return None if self.paper is None else round(self.test - self.paper[1], 6)


def write_report(results: list[Result], folder: Path) -> str:
    """Write table1.md, table1.png and table1.svg into ``folder``; returns the tables as text."""
    if not results:
        return "table1: no results yet"
    sections = [(title, summarise(group)) for title, group in _groups(results)]
    write_markdown(folder / "table1.md", _markdown(sections, results))
    _draw(sections, folder)
    return "\n\n".join(
        f"{title}\n{_text_table(_rows(summaries))}\n{_verdict(summaries)}" for title, summaries in sections
    )


def _groups(results: list[Result]) -> list[tuple[str, list[Result]]]:
    """Results that belong in one table: the same data, recipe and epochs."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault((result.data, result.examples, result.recipe, result.epochs), []).append(result)
    return [
        (f"{data} ({examples} training examples), {recipe} recipe, {epochs} epochs", group)
        for (data, examples, recipe, epochs), group in groups.items()
    ]


def summarise(results: list[Result]) -> list[Summary]:
    """Mean and spread (sample standard deviation) over the seeds, in the paper's order.

    A cell that was trained with several optimiser settings is shown with the last of them.
    """
    latest = {(result.topology, result.dim): result.optimizer for result in results}
    cells: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if latest[result.topology, result.dim] == result.optimizer:
            cells.setdefault((result.topology, result.dim), []).append(result)
    summaries = [_summary(cell) for cell in cells.values()]
    return sorted(summaries, key=lambda summary: (_order(summary.hidden), summary.dim or 1000))


def _order(hidden: tuple[int, ...]) -> int:
    return PAPER_ORDER.index(hidden) if hidden in PAPER_ORDER else len(PAPER_ORDER)


def _summary(cell: list[Result]) -> Summary:
    first, count = cell[0], len(cell)
    train, test = np.array([result.train for result in cell]), np.array([result.test for result in cell])
    spreads = [float(np.std(values, ddof=1)) if count > 1 else float("nan") for values in (train, test)]
    return Summary(
        first.topology,
        first.hidden,
        int(first.dim),
        int(first.parameters),
        first.optimizer,
        count,
        float(train.mean()),
        float(test.mean()),
        *spreads,
    )


HEADER = ("topology", "model", "parameters", "train %", "test %", "seeds", "paper train", "paper test", "test - paper")


def _rows(summaries: list[Summary]) -> list[tuple[str, ...]]:
    rows = []
    for cell in summaries:
        paper = ("", "") if cell.paper is None else tuple(f"{value:.1f}" for value in cell.paper)
        gain = "" if cell.gain is None else f"{cell.gain:+.2f}"
        rows.append(
            (
                cell.topology,
                cell.column,
                f"{cell.parameters:,}",
                _with_spread(cell.train, cell.train_spread),
                _with_spread(cell.test, cell.test_spread),
                str(cell.num_seeds),
                *paper,
                gain,
            )
        )
    return rows


def _with_spread(mean: float, spread: float) -> str:
    return f"{mean:.2f}" if np.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"


def _text_table(rows: list[tuple[str, ...]]) -> str:
    table = [HEADER, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            entry.ljust(width) if column < 2 else entry.rjust(width)
            for column, (entry, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def _verdict(summaries: list[Summary]) -> str:
    """How the particle networks compare with the paper's, and with perceptrons of the same accuracy."""
    return "\n".join([*_beside_paper(summaries), *_beside_perceptrons(summaries)])


def _beside_paper(summaries: list[Summary]) -> list[str]:
    lines = []
    for column, cells in _by_column(summaries):
        gains = {cell.topology: cell.gain for cell in cells if cell.gain is not None}
        if not gains:
            continue
        short = [topology for topology, gain in gains.items() if gain < -ALLOWED_SHORTFALL]
        lines.append(
            f"{column}: test accuracy {np.mean(list(gains.values())):+.2f} points against the paper's, mean of"
            f" {len(gains)} of 10 topologies; more than {ALLOWED_SHORTFALL} below it: {', '.join(short) or 'none'}"
        )
    return lines


def _beside_perceptrons(summaries: list[Summary]) -> list[str]:
    perceptrons = sorted((cell for cell in summaries if not cell.dim), key=lambda cell: cell.parameters)
    lines = []
    for cell in (cell for cell in summaries if cell.dim and perceptrons):
        equal = next((other for other in perceptrons if other.test >= cell.test), None)
        if equal is not None:
            lines.append(
                f"{cell.topology}, {cell.column}: {cell.test:.2f} % with {cell.parameters:,} parameters; the smallest"
                f" perceptron here that reaches it is {equal.topology} ({equal.test:.2f} %) with {equal.parameters:,},"
                f" {equal.parameters / cell.parameters:.1f} times as many"
            )
    return lines


def _by_column(summaries: list[Summary]) -> Iterable[tuple[str, list[Summary]]]:
    for column in dict.fromkeys(cell.column for cell in sorted(summaries, key=lambda cell: cell.dim or 1000)):
        yield column, [cell for cell in summaries if cell.column == column]


def _markdown(sections: list[tuple[str, list[Summary]]], results: list[Result]) -> str:
    lines = [
        "# Table 1 of the paper",
        "",
        "Written by `python -m bench table1`; every network is a line of `table1.csv`.",
    ]
    lines += ["Accuracies in percent after the last epoch, mean ± sample standard deviation over the seeds."]
    for title, summaries in sections:
        lines += ["", f"## {title}", "", f"| {' | '.join(HEADER)} |", "| --- | --- |" + " ---: |" * (len(HEADER) - 2)]
        lines += [f"| {' | '.join(row)} |" for row in _rows(summaries)]
        lines += ["", *(f"- {line}" for line in _verdict(summaries).splitlines())]
        for column, cells in _by_column(summaries):
            lines += [
                f"- {column} trained with {'; '.join(f'`{name}`' for name in _unique(c.optimizer for c in cells))}"
            ]
    lines += ["", f"pn_gpu {_list(r.pn_gpu for r in results)}, commit {_list(r.commit for r in results)};"]
    lines += [f"NumPy {_list(r.numpy for r in results)}, Python {_list(r.python for r in results)},"]
    lines += [f"{_list(r.machine for r in results)}; batches of {_list(r.batch_size for r in results)}."]
    return "\n".join(lines) + "\n"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _list(values: Iterable[str]) -> str:
    return ", ".join(_unique(values))


MARKERS = {"n = 2": ("o", "#1b7837"), "n = 3": ("s", "#2166ac"), "MLP": ("^", "#b2182b")}


def _draw(sections: list[tuple[str, list[Summary]]], folder: Path) -> None:
    figure = new_figure(10, 5 * len(sections))
    if figure is None:
        return
    for axes, (title, summaries) in zip(figure.subplots(len(sections), squeeze=False)[:, 0], sections, strict=True):
        _draw_section(axes, title, summaries)
    save_picture(figure, folder / "table1")


def _draw_cells(axes: Any, cells: list[Summary], **style: Any) -> None:
    spread = [0.0 if np.isnan(cell.test_spread) else cell.test_spread for cell in cells]
    axes.errorbar([cell.parameters for cell in cells], [cell.test for cell in cells], spread, elinewidth=1, **style)


def _draw_section(axes: Any, title: str, summaries: list[Summary]) -> None:
    for column, cells in _by_column(summaries):
        marker, colour = MARKERS.get(column, ("D", "#762a83"))
        label = f"Particle Network, {column}" if column != "MLP" else "perceptron (MLP)"
        style = {"marker": marker, "color": colour, "ms": 5, "capsize": 2, "lw": 0.8}
        single = sorted((cell for cell in cells if len(cell.hidden) < 2), key=lambda cell: cell.parameters)
        _draw_cells(axes, single, ls="-", label=label, **style)
        _draw_cells(axes, [cell for cell in cells if len(cell.hidden) > 1], ls="", mfc="white", **style)
        for cell in single:
            axes.annotate(
                "-".join(map(str, cell.hidden)) or "none",
                (cell.parameters, cell.test),
                xytext=(4, -10),
                textcoords="offset points",
                fontsize=7,
                color=colour,
            )
    axes.set_xscale("log")
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{title}\n(numbers: hidden nodes; hollow: two hidden layers)", fontsize=9)
    axes.grid(which="both", alpha=0.25, lw=0.5)
    axes.margins(0.06, 0.12)
    axes.legend(loc="lower right", fontsize=8)
