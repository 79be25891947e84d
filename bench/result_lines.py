"""Results that grow line by line: CSV files from which a benchmark goes on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pn_gpu.files import replacing

Line = dict[str, str]


def read_lines(path: Path, columns: Sequence[str]) -> list[Line]:
    """The lines of a file; none if it does not exist.

    Raises
    ------
    ValueError
        If it has other columns.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise ValueError(f"{path}: got the columns {reader.fieldnames}, want {','.join(columns)}")
        return list(reader)


def write_lines(path: Path, columns: Sequence[str], lines: Sequence[Line]) -> None:
    """Write the file anew, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
