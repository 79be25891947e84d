"""The file of train_wide, a line for every epoch of either network, and its picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.harness import machine, new_figure, save_picture
from bench.table1_results import versions
from pn_gpu.files import replacing

COLOURS = {512: "#56b4e9", 1024: "#0072b2", 2048: "#009e73", 4096: "#d55e00"}


@dataclass(frozen=True)
class EpochRow:
    """What one network was like after an epoch of the particles.

    ``seconds`` and ``steps`` are the network's own since the start; ``ratio`` is a dense step's time over a particle
    step's, median of the epoch's turns; ``peak_mb`` is resident memory of three steps in a process of its own.
    """

    run: str
    width: int
    network: str
    n: int
    d: int
    parameters: int
    lr: float
    epoch: int
    steps: int
    seconds: float
    step_ms: float
    ratio: float
    ratio_q25: float
    ratio_q75: float
    train_loss: float
    test_accuracy: float
    spread: str
    features: str
    peak_mb: float

    @property
    def key(self) -> tuple[str, str, int]:
        return self.run, self.network, self.epoch

    @property
    def summary(self) -> str:
        """A line for the terminal."""
        text = (
            f"{self.network:9} {self.steps} steps, {self.seconds:.0f} s, {self.step_ms:.1f} ms a step,"
            f" loss {self.train_loss:.4f}, test {100 * self.test_accuracy:.2f} %"
        )
        if self.network == "dense":
            return text
        return f"{text}, {self.ratio:.2f} times as fast, spread {self.spread}, features {self.features}"


TYPES = {"str": str, "int": int, "float": float}


def read_rows(path: Path) -> list[EpochRow]:
    """All lines of the file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return [
        EpochRow(**{field.name: TYPES[str(field.type)](line[field.name]) for field in fields(EpochRow)})
        for line in lines
    ]


def replace_rows(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write rows, in the place of those of the same epoch: the file is replaced as a whole."""
    lines: dict[tuple[str, str, int], dict[str, object]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                lines[line["run"], line["network"], int(line["epoch"])] = dict(line)
    here = {**machine(), "commit": versions()["commit"]}
    for row in rows:
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in asdict(row).items()}
        lines[row.key] = rounded | here
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*asdict(rows[0]), *here], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines.values())


def draw(rows: Sequence[EpochRow], path: Path) -> None:
    """Accuracy against training time, and how much faster a particle step is, through the training."""
    if not rows:
        print("train_wide: nothing was trained yet")
        return
    figure = new_figure(10, 5)
    if figure is None:
        return
    left, right = figure.subplots(1, 2)
    for run in dict.fromkeys(row.run for row in rows):
        for network, style in (("particles", "-"), ("dense", ":")):
            own = [row for row in rows if row.run == run and row.network == network]
            if not own:
                continue
            colour = COLOURS.get(own[0].width, "#555555")
            dims = f", n = {own[0].n}, d = {own[0].d}" if network == "particles" else ""
            label = f"{own[0].width} {network}{dims}: {own[0].parameters:,} parameters"
            accuracy = [100 * row.test_accuracy for row in own]
            left.plot([row.seconds for row in own], accuracy, style, marker=".", color=colour, label=label)
            if network == "particles":
                right.plot([row.epoch for row in own], [row.ratio for row in own], marker=".", color=colour)
    left.set(xscale="log", xlabel="seconds of training", ylabel="test accuracy, %", ylim=(90, 99), title="784-H-H-10")
    right.axhline(1, color="#999999", lw=0.8)
    right.set(yscale="log", xlabel="epoch", ylabel="dense step / particle step", title="time of a step, by turns")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.25, which="both", lw=0.5)
    save_picture(figure, path)
