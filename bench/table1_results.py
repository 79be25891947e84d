"""The file of Table 1: one line for every network that was trained to the end."""

from __future__ import annotations

import csv
import platform
import subprocess
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

import pn_gpu
from pn_gpu.files import replacing


@dataclass(frozen=True)
class Result:
    """One line, as text: what was trained, what it reached, and with what.

    ``dim`` is 0 for a perceptron; accuracies lie between 0 and 1; ``seconds`` is the time of all epochs together.
    """

    data: str
    examples: str
    topology: str
    dim: str
    recipe: str
    optimizer: str
    seed: str
    epochs: str
    batch_size: str
    parameters: str
    train_accuracy: str
    test_accuracy: str
    train_loss: str
    test_loss: str
    seconds: str
    pn_gpu: str
    commit: str
    numpy: str
    python: str
    machine: str

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two results the same cell."""
        return tuple(getattr(self, name) for name in KEY_COLUMNS)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Nodes of the hidden layers."""
        return tuple(map(int, self.topology.split("-")[1:-1]))

    @property
    def train(self) -> float:
        """Training accuracy in percent."""
        return 100 * float(self.train_accuracy)

    @property
    def test(self) -> float:
        """Test accuracy in percent."""
        return 100 * float(self.test_accuracy)


KEY_COLUMNS = ("data", "examples", "topology", "dim", "recipe", "optimizer", "seed", "epochs")
COLUMNS = [field.name for field in fields(Result)]


def read_results(path: Path) -> list[Result]:
    """All lines of the file; none if there is no file.

    Raises
    ------
    ValueError
        If the file has other columns, or a line is cut short.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if header != COLUMNS:
        raise ValueError(f"{path}: got the columns {','.join(header)}, want {','.join(COLUMNS)}")
    for number, line in enumerate(lines, 2):
        if len(line) != len(COLUMNS):
            raise ValueError(f"{path}: line {number} has {len(line)} entries, want {len(COLUMNS)}")
    return [Result(*line) for line in lines]


def append_result(path: Path, result: Result) -> None:
    """Add a line: the file is replaced as a whole, so that it is never half written."""
    results = [*read_results(path), result]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(asdict(result).values() for result in results)


def versions() -> dict[str, str]:
    """Of the program, its libraries and the machine."""
    return {
        "pn_gpu": pn_gpu.__version__,
        "commit": _commit(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _commit() -> str:
    """The commit of the checkout, with a plus sign if files differ from it; empty where there is no git."""
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
