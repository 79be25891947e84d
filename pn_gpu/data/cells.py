"""What may stand in the columns of a table: finite numbers, or the words of categories."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.columns import Table, is_text
from pn_gpu.data.text_layout import is_number

# A column of words whose values are mostly numbers is one with a slip of the pen, not one of categories.
MOST = 0.5

_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}\b.*|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


def check_cells(table: Table) -> Table:
    """The table, with columns of words that all are numbers as numbers.

    Raises
    ------
    ValueError
        If a number is infinite, or a column holds dates, or words among numbers.
    """
    return replace(table, columns=tuple(_check_column(table, index) for index in range(table.width)))


def _check_column(table: Table, index: int) -> Array:
    column = table.columns[index]
    if is_text(column):
        return _check_words(table, index)
    if np.isinf(column).any():
        row = int(np.argmax(np.isinf(column)))
        raise ValueError(f"{_place(table, row, index)}: got {column[row]}, want a finite number")
    return column


def _check_words(table: Table, index: int) -> Array:
    column = table.columns[index]
    there = [row for row, value in enumerate(column) if value is not None]
    numeric = [is_number(column[row], table.decimal) for row in there]
    if all(numeric):
        numbers = np.full(len(column), np.nan)
        for row in there:
            numbers[row] = float(column[row].replace(",", ".") if table.decimal == "," else column[row])
        return numbers
    row = there[numeric.index(False)]
    word = column[row]
    leave_out = table.leave_out(index)
    if _DATE.fullmatch(word):
        raise ValueError(
            f"{_place(table, row, index)}: got {word!r}, a date or time; want numbers, such as its year, its month or"
            f" the days since a start in columns of their own; {leave_out}"
        )
    if sum(numeric) > MOST * len(numeric):
        raise ValueError(
            f"{_place(table, row, index)}: got {word!r}, want a number as elsewhere in the column (a missing value is"
            f" an empty cell, NA, NaN, null or ?); {leave_out}"
        )
    return column


def _place(table: Table, row: int, index: int) -> str:
    return f"{table.path}: {table.row_label(row)}, {table.column_label(index)}"
