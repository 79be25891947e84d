"""The results of `bench federated`: as text, as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.harness import new_figure, save_picture
from bench.result_lines import grouped, write_markdown

Row = dict[str, str]
# Told apart by everybody (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00")
LEVELS = (0.90, 0.93, 0.95)


def write_report(rows: Sequence[Row], folder: Path) -> str:
    """Write federated.md, .png and .svg into ``folder``; returns the table as text."""
    if not rows:
        return "federated: no results yet"
    text = _markdown(rows)
    write_markdown(folder / "federated.md", text)
    _draw(rows, folder)
    return text


def _reached(run: Sequence[Row], level: float) -> str:
    """Megabytes until a test accuracy is reached."""
    return next((f"{float(row['megabytes']):.1f}" for row in run if float(row["test_accuracy"]) >= level), "")


def _markdown(rows: Sequence[Row]) -> str:
    levels = " | ".join(f"MB to {level:.0%}" for level in LEVELS)
    lines = [
        "# Federated averaging over slow links",
        "",
        "Written by `python -m bench federated`; `federated.csv` has every round. Ten clients, a local epoch a round;"
        " megabytes to all clients and back, float32.",
        "",
        f"| clients | network | seed | numbers that travel | local rate | {levels} | best test % | rounds |",
        "| --- | --- | ---: | ---: | ---: |" + " ---: |" * (len(LEVELS) + 2),
    ]
    for (clients, network, seed), run in grouped(rows, "clients", "network", "seed").items():
        best = max(float(row["test_accuracy"]) for row in run)
        reached = " | ".join(_reached(run, level) for level in LEVELS)
        lines.append(
            f"| {clients} | {network} | {seed} | {int(run[0]['travelling']):,} | {run[0]['rate']} | {reached} |"
            f" {100 * best:.2f} | {len(run)} |"
        )
    machines = sorted({f"{row['cpu']}, torch {row['torch']}" for row in rows})
    return "\n".join([*lines, "", f"{'; '.join(machines)}."]) + "\n"


def _draw(rows: Sequence[Row], folder: Path) -> None:
    figure = new_figure(9.0, 4.0)
    if figure is None:
        return
    deals = list(dict.fromkeys(row["clients"] for row in rows))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    for axes, deal in zip(figure.subplots(1, len(deals), sharey=True, squeeze=False)[0], deals, strict=True):
        for (clients, network, seed), run in grouped(rows, "clients", "network", "seed").items():
            if clients == deal:
                axes.plot(
                    [float(row["megabytes"]) for row in run],
                    [100 * float(row["test_accuracy"]) for row in run],
                    color=COLOURS[networks.index(network)],
                    label=network if seed == "0" else None,
                )
        axes.set_xscale("log")
        axes.set_ylim(bottom=60)
        axes.set_title(f"clients {deal}")
        axes.set_xlabel("megabytes sent")
        axes.grid(alpha=0.25, lw=0.5)
    figure.axes[0].set_ylabel("test accuracy, %")
    figure.axes[0].legend(fontsize=7, loc="lower right")
    save_picture(figure, folder / "federated")
