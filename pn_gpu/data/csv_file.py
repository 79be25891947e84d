"""Numbers from a .csv file, with messages that name the line and the column.

NumPy reads the file; only if that fails, or a number is not finite, is it read once more to find the place.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pn_gpu.data.arrays import Array

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class _Layout:
    """What the first line tells about the file."""

    delimiter: str
    width: int
    names: list[str] | None  # of the columns, if there is a header
    first_line: int  # where the first line with a sample may be, counted from 1

    def column(self, index: int) -> str:
        """A column as a message calls it: counted from 1, as lines are."""
        return f"column {index + 1}" + (f" ({self.names[index]!r})" if self.names else "")


def read_csv(path: Path, target: str | int | None = None, header: bool | None = None) -> tuple[Array, Array]:
    """Inputs [B, N] and the target column [B] of a .csv file, both float64; see `load_table` for the options.

    Raises
    ------
    TypeError, ValueError
        If the file is empty, ragged, or holds anything but finite numbers, or has no such target column.
    """
    layout, table = _read(path, header)
    if layout.width < 2:
        raise ValueError(f"{path}: got one column, want at least one input and the target")
    column = _target_column(path, layout, target)
    return np.delete(table, column, axis=1), table[:, column]


def read_csv_inputs(path: Path, header: bool | None = None) -> Array:
    """All columns of a .csv file, [B, N] in float64; raises as `read_csv`."""
    return _read(path, header)[1]


def _read(path: Path, header: bool | None) -> tuple[_Layout, Array]:
    try:
        layout = _read_layout(path, header)
        if not any(True for _ in itertools.islice(_rows(path, layout), 1)):
            raise ValueError(f"{path}: no samples, want at least one line of numbers")
        table = _read_numbers(path, layout)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path}: not a .csv file ({error})") from None
    finite = np.isfinite(table)
    if not finite.all():
        row, column = (int(i) for i in np.unravel_index(np.argmin(finite), table.shape))
        line = next(itertools.islice(_rows(path, layout), row, None))[0]
        raise ValueError(
            f"{path}: line {line}, {layout.column(column)}: got {table[row, column]}, want a finite number"
        )
    return layout, table


def _read_layout(path: Path, header: bool | None) -> _Layout:
    with path.open(encoding="utf-8-sig", newline="") as file:
        start = next((line for line in file if line.strip()), None)
        if start is None:
            raise ValueError(f"{path}: the file is empty, want lines of numbers")
        delimiter = max(DELIMITERS, key=start.count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        cells = next(row for row in reader if row)
        if header is None:
            header = not all(_is_number(cell) for cell in cells)
        names = [cell.strip() for cell in cells] if header else None
        return _Layout(delimiter, len(cells), names, reader.line_num + 1 if header else 1)


def _read_numbers(path: Path, layout: _Layout) -> Array:
    try:
        table: Array = np.loadtxt(
            path,
            delimiter=layout.delimiter,
            skiprows=layout.first_line - 1,
            comments=None,
            quotechar='"',
            ndmin=2,
            encoding="utf-8-sig",
        )
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {_first_mistake(path, layout) or error}") from None
    if table.shape[1] != layout.width:
        raise ValueError(f"{path}: {_first_mistake(path, layout)}")
    return table


def _first_mistake(path: Path, layout: _Layout) -> str | None:
    for line, row in _rows(path, layout):
        if len(row) != layout.width:
            return f"line {line}: got {len(row)} columns, want {layout.width} as in the first line"
        for column, cell in enumerate(row):
            if not _is_number(cell):
                got = repr(cell) if cell.strip() else "an empty cell"
                want = "want a number (classes are numbered 0..K-1)"
                return f"line {line}, {layout.column(column)}: got {got}, {want}"
    return None


def _rows(path: Path, layout: _Layout) -> Iterator[tuple[int, list[str]]]:
    """Line number, counted from 1, and cells of every sample; empty lines are passed over."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=layout.delimiter)
        for row in reader:
            if row and reader.line_num >= layout.first_line:
                yield reader.line_num, row


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python allows in a number and NumPy does not


def _target_column(path: Path, layout: _Layout, target: str | int | None) -> int:
    if target is None:
        return layout.width - 1
    if isinstance(target, str) and layout.names is not None and target in layout.names:
        if layout.names.count(target) > 1:
            raise ValueError(f"target: {path} has {layout.names.count(target)} columns {target!r}, want a number")
        return layout.names.index(target)
    if isinstance(target, str):
        try:
            target = int(target)
        except ValueError:
            names = ", ".join(layout.names) if layout.names else "(there is no header)"
            raise ValueError(f"target: got {target!r}, want a column of {path}: {names}") from None
    if isinstance(target, bool) or not isinstance(target, int):
        raise TypeError(f"target: got {target!r} ({type(target).__name__}), want the name or number of a column")
    if not -layout.width <= target < layout.width:
        raise ValueError(f"target: got column {target}, want 0..{layout.width - 1} (or negative, from the end)")
    return target % layout.width
