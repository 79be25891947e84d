"""Tables from text files: .csv, .tsv and their like.

NumPy reads a file of plain numbers. Words, missing values and decimal commas are left to pandas (the extra ``tables``),
which is imported for them alone: it reads every dialect of these files and Parquet besides, most people with tables
have it already, and the file needs not be described to it column by column, as to pyarrow and polars.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import IO

import numpy as np

from pn_gpu.data.columns import Table
from pn_gpu.data.content import damage_named
from pn_gpu.data.text_layout import Layout, read_layout, read_rows
from pn_gpu.data.text_table import make_table


def read_text(path: Path, file: IO[bytes], header: bool | None = None, decimal: str | None = None) -> Table:
    """All columns of a text file.

    Parameters
    ----------
    path : path
        For messages, and .tsv says that tabs separate the columns.
    file : binary file
    header : bool, optional
        Whether the first line names the columns; by default that is told by what stands below it.
    decimal : {".", ","}, optional
        By default a comma if it separates no columns, numbers are written so, and none with a point.

    Raises
    ------
    ValueError
        If the file is empty, ragged, or no text; the message names the line.
    ImportError
        If it takes pandas to read the file, and that is missing.
    """
    try:
        with damage_named(path, "text file"):
            layout = read_layout(path, file, header, decimal)
            _check_rows(path, file, layout)
            table = _read_numbers(path, file, layout)
            if table is None:
                from pn_gpu.data.pandas_file import read_words

                table = read_words(path, file, layout)
    except csv.Error as error:
        raise ValueError(f"{path}: not a table in text ({error})") from None
    return table


def _check_rows(path: Path, file: IO[bytes], layout: Layout) -> None:
    """As many columns in every line as in the first: pandas would fill up short lines with missing values."""
    line = None
    for line, row in read_rows(file, layout.encoding, layout.separator, layout.first_line):
        if len(row) != layout.width:
            raise ValueError(f"{path}: line {line}: got {len(row)} columns, want {layout.width} as in the first line")
    if line is None:
        raise ValueError(f"{path}: no samples, want at least one line of numbers")


def _read_numbers(path: Path, file: IO[bytes], layout: Layout) -> Table | None:
    """The table if every cell is a number; None if pandas is needed."""
    if layout.decimal != ".":
        return None
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=layout.encoding, newline=None)
    try:
        numbers = np.loadtxt(
            text,
            delimiter=layout.separator,
            skiprows=layout.first_line - 1,
            comments=None,
            quotechar='"',
            ndmin=2,
        )
    except UnicodeDecodeError:
        raise
    except ValueError:
        return None
    finally:
        text.detach()
    if numbers.shape[1] != layout.width:
        return None
    return make_table(path, layout, tuple(numbers.T))
