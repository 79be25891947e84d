"""Results that grow line by line: CSV files from which a benchmark goes on, and the options of such benchmarks."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from pn_gpu.files import replacing

Line = dict[str, str]


def check_output(options: argparse.Namespace) -> None:
    """The folder of results has to be there.

    Raises
    ------
    FileNotFoundError
    """
    if not options.output.is_dir():
        raise FileNotFoundError(f"--output: the folder {options.output} does not exist")


def check_counts(options: argparse.Namespace, **least: int) -> None:
    """Every option that is named has to be at least so large.

    Raises
    ------
    ValueError
    """
    for name, lowest in least.items():
        value = getattr(options, name)
        if value < lowest:
            raise ValueError(f"--{name.replace('_', '-')}: got {value}, want at least {lowest}")


def read_lines(path: Path, columns: Sequence[str], added: Sequence[str] = ()) -> list[Line]:
    """The lines of a file; none if it does not exist. What older files lack of the columns ``added`` is empty.

    Raises
    ------
    ValueError
        If it has other columns.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = reader.fieldnames or []
        if list(found) != [column for column in columns if column in found or column not in added]:
            raise ValueError(f"{path}: got the columns {reader.fieldnames}, want {','.join(columns)}")
        return [{column: line.get(column, "") for column in columns} for line in reader]


def write_lines(path: Path, columns: Sequence[str], lines: Sequence[Line]) -> None:
    """Write the file anew, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def write_markdown(path: Path, text: str) -> None:
    """Write a table anew, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def unique(lines: Sequence[Line], *columns: str) -> list[tuple[str, ...]]:
    """The values of some columns that there are, in the order of the lines."""
    return list(grouped(lines, *columns))


def grouped(lines: Sequence[Line], *columns: str) -> dict[tuple[str, ...], list[Line]]:
    """The lines that are alike in some columns, by what these hold."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(line[column] for column in columns), []).append(line)
    return groups
