"""The table, the CSV and the plots of what `bench.gpu` measured."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

OK = "ok"


@dataclass
class Row:
    """One phase of one contender at one case; the numbers are None unless ``status`` is ok."""

    size: int
    batch: int
    dtype: str
    dim: int | None
    contender: str
    phase: str
    status: str = OK
    median_us: float | None = None
    low_us: float | None = None
    high_us: float | None = None
    rounds: int | None = None
    # Until an eager call came back: what its launches take in Python.
    host_us: float | None = None
    # Whether the device never waited for the host; else the median counts such waits too.
    queued: bool | None = None
    # Time of nn.Linear over the time of this, in the same rounds: above 1 is faster.
    speed_to_linear: float | None = None
    roofline_fraction: float | None = None
    peak_mb: float | None = None
    # Largest |z - exact| / sum |w x|, for forwards of layers small enough to check.
    error: float | None = None

    @property
    def label(self) -> str:
        return self.contender if self.dim is None else f"{self.contender} n={self.dim}"

    @property
    def failed(self) -> bool:
        return self.status.startswith("failed")


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """The rows, or what was there before if it cannot be written."""
    new = path.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    new.replace(path)


def read_csv(path: Path) -> list[Row]:
    """The rows that `write_csv` wrote; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Row(**{field.name: _parsed(line[field.name], field.type) for field in fields(Row)})
            for line in csv.DictReader(file)
        ]


def _parsed(text: str, kind: Any) -> Any:
    if text == "" and "None" in kind:
        return None
    if kind.startswith("bool"):
        return text == "True"
    return {"int": int, "float": float}.get(kind.partition(" ")[0], str)(text)


def table(rows: list[Row]) -> str:
    """A block per dtype and phase, a line per shape, a column per contender: microseconds and speed to nn.Linear."""
    blocks = []
    for dtype, phase in dict.fromkeys((row.dtype, row.phase) for row in rows):
        chosen = [row for row in rows if (row.dtype, row.phase) == (dtype, phase)]
        meaning = "median us on the device (times as fast as nn.Linear; % of roofline; peak MB; us on the host)"
        blocks.append(f"{dtype} {phase}: {meaning}")
        blocks.append(_block(chosen))
    if any(row.queued is False for row in rows):
        blocks.append(
            "* the device waited for the host: the call itself waits for results, or takes too long to enqueue"
        )
    left_out = sorted({f"{row.dtype} N={row.size} B={row.batch} {row.label}: {row.status}" for row in _left_out(rows)})
    if left_out:
        blocks.append("Not measured:\n" + "\n".join(f"  {line}" for line in left_out))
    return "\n\n".join(blocks)


def _left_out(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.status != OK]


def _block(rows: list[Row]) -> str:
    labels = list(dict.fromkeys(row.label for row in rows))
    cells = {(row.size, row.batch, row.label): _cell(row) for row in rows}
    shapes = list(dict.fromkeys((row.size, row.batch) for row in rows))
    lines = [["N=M", "B", *labels]]
    lines += [[str(size), str(batch), *(cells.get((size, batch, x), "") for x in labels)] for size, batch in shapes]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cell(row: Row) -> str:
    if row.median_us is None:
        return "-"
    parts = [f"{row.speed_to_linear:.2f}x" if row.speed_to_linear else ""]
    parts += [f"{100 * row.roofline_fraction:.0f}%" if row.roofline_fraction else ""]
    parts += [f"{row.peak_mb:.0f}MB" if row.peak_mb is not None else ""]
    parts += [f"host {row.host_us:.0f}" if row.host_us is not None else ""]
    unqueued = "*" if row.queued is False else ""
    return f"{row.median_us:.1f}{unqueued} ({' '.join(p for p in parts if p)})"


def write_plots(rows: list[Row], folder: Path) -> str:
    """``gpu_speed.png`` and, on a GPU, ``gpu_memory.png``; returns why there are none, or an empty string."""
    if importlib.util.find_spec("matplotlib") is None:
        return "no plots: matplotlib is not installed (pip install matplotlib)"
    import matplotlib

    matplotlib.use("Agg")
    if not any(row.speed_to_linear for row in rows):
        return "no plots: nothing was measured"
    quantities = [("gpu_speed.png", "speed_to_linear", "times as fast as nn.Linear")]
    if any(row.peak_mb for row in rows):
        quantities.append(("gpu_memory.png", "peak_mb", "peak memory, MB"))
    for name, quantity, meaning in quantities:
        _plot([row for row in rows if getattr(row, quantity)], quantity, meaning, folder / name)
    return ""


def _plot(rows: list[Row], quantity: str, meaning: str, path: Path) -> None:
    """A panel per dtype and phase, the batch along x, a line per contender and size."""
    import matplotlib.pyplot as plt

    dtypes, phases = (list(dict.fromkeys(getattr(row, key) for row in rows)) for key in ("dtype", "phase"))
    figure, axes = plt.subplots(
        len(dtypes), len(phases), figsize=(5 * len(phases), 4 * len(dtypes)), squeeze=False, layout="constrained"
    )
    colours: dict[str, Any] = {}
    styles = dict(zip(dict.fromkeys(row.size for row in rows), ("-", "--", ":", "-."), strict=False))
    for row_axes, dtype in zip(axes, dtypes, strict=True):
        for axis, phase in zip(row_axes, phases, strict=True):
            panel = [row for row in rows if (row.dtype, row.phase) == (dtype, phase)]
            for label, size in dict.fromkeys((row.label, row.size) for row in panel):
                line = [row for row in panel if (row.label, row.size) == (label, size)]
                colour = colours.setdefault(label, f"C{len(colours) % 10}")
                values = [getattr(row, quantity) for row in line]
                style = styles.get(size, "-")
                axis.plot(
                    [row.batch for row in line], values, style, color=colour, marker=".", label=f"{label} N={size}"
                )
            axis.set(xscale="log", yscale="log", title=f"{dtype} {phase}", xlabel="batch", ylabel=meaning)
            if quantity == "speed_to_linear":
                axis.axhline(1, color="black", linewidth=0.5)
    lines = {str(line.get_label()): line for axis in figure.axes for line in axis.get_lines()}
    shown = [label for label in lines if not label.startswith("_")]
    figure.legend([lines[label] for label in shown], shown, fontsize=6, loc="outside right upper")
    figure.savefig(path, dpi=110)
    plt.close(figure)
