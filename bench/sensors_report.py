"""The results of `bench sensors`: as text, as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import new_figure, save_picture
from bench.result_lines import unique, write_markdown

Row = dict[str, str]
# Told apart by everybody (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#000000", "#888888")
TICKS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 50, 60, 80, 100)
NAMES = {"kept": "as trained", "dropped": "dropped", "moved": "moved by spacings of", "grid": "grid"}


def write_report(rows: Sequence[Row], folder: Path) -> str:
    """Write sensors.md, .png and .svg into ``folder``; returns the tables as text."""
    if not rows:
        return "sensors: no results yet"
    text = _markdown(rows)
    write_markdown(folder / "sensors.md", text)
    _draw(rows, folder)
    return text


def _found(rows: Sequence[Row], change: tuple[str, ...], network: str, rule: str) -> np.ndarray[Any, Any]:
    """Accuracies in percent of all seeds; without a change the rule does not matter."""
    wanted = ("kept", "") if change[0] == "kept" else change
    return np.array(
        [
            100 * float(row["test_accuracy"])
            for row in rows
            if (row["kind"], row["amount"]) == wanted
            and row["network"] == network
            and (change[0] == "kept" or row["rule"] == rule)
        ]
    )


def _cell(values: np.ndarray[Any, Any]) -> str:
    if len(values) == 0:
        return ""
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def _rules(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(network, rule) for network, rule in unique(rows, "network", "rule") if rule]


def _markdown(rows: Sequence[Row]) -> str:
    lines = [
        "# Sensors dropped, moved and on other grids",
        "",
        "Written by `python -m bench sensors`; `sensors.csv` has every seed. Test accuracy in percent, mean ± sample"
        " standard deviation over the seeds, without retraining. Moves are normal, of that standard deviation along"
        " each axis.",
    ]
    for (data,) in unique(rows, "data"):
        own = [row for row in rows if row["data"] == data]
        rules = _rules(own)
        lines += ["", f"## {data}", ""]
        lines += [_about(own, network) for (network,) in unique(own, "network")]
        lines += ["", "| sensors | " + " | ".join(f"{network}: {rule}" for network, rule in rules) + " |"]
        lines += ["| --- |" + " ---: |" * len(rules)]
        for change in unique(own, "kind", "amount"):
            cells = [_cell(_found(own, change, *rule)) for rule in rules]
            lines.append(f"| {NAMES[change[0]]} {change[1]} | {' | '.join(cells)} |".replace("  |", " |"))
    cpu, numpy = (", ".join(value for (value,) in unique(rows, name)) for name in ("cpu", "numpy"))
    lines += ["", f"{cpu}; NumPy {numpy}."]
    return "\n".join(lines) + "\n"


def _about(rows: Sequence[Row], network: str) -> str:
    own = [row for row in rows if row["network"] == network]
    first = own[0]
    fixed = f" and {int(first['fixed']):,} fixed numbers" if int(first["fixed"]) else ""
    size = f", places within ± {float(first['half_width']):g}" if float(first["half_width"]) else ""
    decay = f", decay {first['decay']}" if float(first["decay"]) else ""
    return (
        f"- {network}: {int(first['parameters']):,} parameters{fixed}; rate {first['rate']}{decay}{size};"
        f" {first['epochs']} epochs; seeds: {len(unique(own, 'seed'))}"
    )


def _draw(rows: Sequence[Row], folder: Path) -> None:
    sets = [data for (data,) in unique(rows, "data")]
    figure = new_figure(11, 3.4 * len(sets) + 1)
    if figure is None:
        return
    axes = figure.subplots(len(sets), 3, squeeze=False, sharey="row")
    for line, data in zip(axes, sets, strict=True):
        own = [row for row in rows if row["data"] == data]
        for ax, kind in zip(line, ("dropped", "moved", "grid"), strict=True):
            _draw_changes(ax, own, kind)
            ax.set_title(f"{data}: {NAMES[kind]}" if kind != "moved" else f"{data}: moved, spacings")
        line[0].set_ylabel("test error, %")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    save_picture(figure, folder / "sensors")


def _draw_changes(ax: Any, rows: Sequence[Row], kind: str) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    changes = [change for change in unique(rows, "kind", "amount") if change[0] == kind]
    first = [] if kind == "grid" else [("kept", "")]
    points = first + changes
    for index, (network, rule) in enumerate(_rules(rows)):
        found = [_found(rows, change, network, rule) for change in points]
        if not all(len(values) for values in found):
            continue
        ax.errorbar(
            range(len(points)),
            [100 - values.mean() for values in found],
            [values.std(ddof=1) if len(values) > 1 else 0 for values in found],
            color=COLOURS[index % len(COLOURS)],
            marker="o" if network == "particles" else "s",
            ls="-" if network == "particles" else "--",
            lw=1.4,
            ms=4,
            capsize=2,
            label=f"{network}: {rule}",
        )
    ax.set_xticks(range(len(points)), [amount or "none" for _, amount in points])
    ax.set_yscale("log")
    ax.yaxis.set(major_locator=FixedLocator(TICKS), major_formatter="{x:g}", minor_locator=NullLocator())
    ax.grid(alpha=0.25, lw=0.5)
