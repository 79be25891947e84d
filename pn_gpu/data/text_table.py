"""A table made of a text file, and what of it needs pandas: what every way to read one shares."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import IO

import numpy as np

from pn_gpu.data.columns import Table
from pn_gpu.data.content import is_pipe, open_content
from pn_gpu.data.text_layout import Layout, is_missing, is_number, read_rows


def make_table(path: Path, layout: Layout, columns: tuple[np.ndarray, ...]) -> Table:
    """A table whose rows are called by their lines, which are looked for when a message needs one."""

    def row_label(row: int) -> str:
        if is_pipe(path):
            return f"row {row} (counted from 0)"
        with open_content(path, "text") as (file, _):
            rows = read_rows(file, layout.encoding, layout.separator, layout.first_line)
            return f"line {next(itertools.islice(rows, row, None))[0]}"

    return Table(path, layout.names, columns, row_label, layout.notes, layout.decimal)


def first_word(path: Path, file: IO[bytes], layout: Layout) -> str:
    """Where the first cell is that is no number, for a message."""
    names = Table(path, layout.names, tuple(np.empty((layout.width, 0))))
    for line, row in read_rows(file, layout.encoding, layout.separator, layout.first_line):
        for index, cell in enumerate(row):
            if is_missing(cell) or not is_number(cell):
                got = repr(cell) if cell.strip() else "an empty cell"
                return f"line {line}, {names.column_label(index)}: got {got}"
    return "a cell that is no number"
