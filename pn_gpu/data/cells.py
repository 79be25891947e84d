"""What may stand in the columns of a table: finite numbers, or the words of categories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.columns import Table, is_text
from pn_gpu.data.text_layout import is_number

# A column of words whose values are mostly numbers is one with a slip of the pen, not one of categories.
MOST = 0.5

# A column of more different words is a name or a remark, not a kind of something.
MAX_CATEGORIES = 100

# Columns that a message tells of; a table may have thousands that are wrong in the same way.
MAX_FAULTS = 10

_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}\b.*|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


class Fault(NamedTuple):
    """Why a column cannot be used: what is wrong in a row of it, or in all of it."""

    row: int | None
    text: str


def check_cells(table: Table, target: int | None = None) -> Table:
    """The table of a training, with columns of words that all are numbers as numbers.

    Parameters
    ----------
    table : Table
    target : int, optional
        Index of the column to predict, which may have any number of words.

    Raises
    ------
    ValueError
        If a number is infinite, or a column holds dates, words among numbers, or too many words: of all such columns
        at once.
    """
    table = replace(table, columns=tuple(as_numbers(table, index) for index in range(table.width)))
    faults = {}
    for index in range(table.width):
        fault = _find_fault(table, index) or (None if index == target else _find_many_words(table, index))
        if fault is not None:
            faults[index] = fault
    raise_faults(table, faults, table.leave_out([index for index in faults if index != target]))
    return table


def as_numbers(table: Table, index: int) -> Array:
    """A column of words as float64 if they all are numbers; else as it is."""
    column = table.columns[index]
    if not is_text(column) or not all(value is None or is_number(value, table.decimal) for value in column):
        return column
    return np.array([np.nan if value is None else float(value.replace(table.decimal, ".")) for value in column])


def raise_faults(table: Table, faults: Mapping[int, Fault], hint: str = "") -> None:
    """One ValueError that tells of all columns that cannot be used, by their index; none if there is none."""
    if not faults:
        return
    told = [_tell(table, index, fault) for index, fault in [*faults.items()][:MAX_FAULTS]]
    if len(faults) > len(told):
        told.append(f"and {len(faults) - len(told)} columns more")
    raise ValueError(f"{table.path}: {'; '.join([*told, hint] if hint else told)}")


def _tell(table: Table, index: int, fault: Fault) -> str:
    row = "" if fault.row is None else f"{table.row_label(fault.row)}, "
    return f"{row}{table.column_label(index)}: {fault.text}"


def find_infinite(column: Array) -> Fault | None:
    """What is wrong with a column of numbers, if one is infinite."""
    if not np.isinf(column).any():
        return None
    row = int(np.argmax(np.isinf(column)))
    return Fault(row, f"got {column[row]}, want a finite number")


def _find_fault(table: Table, index: int) -> Fault | None:
    column = table.columns[index]
    if not is_text(column):
        return find_infinite(column)
    there = [row for row, value in enumerate(column) if value is not None]
    numeric = [is_number(column[row], table.decimal) for row in there]
    row = there[numeric.index(False)]
    word = column[row]
    if _DATE.fullmatch(word):
        return Fault(
            row,
            f"got {word!r}, a date or time; want numbers, such as its year, its month or the days since a start in"
            " columns of their own",
        )
    if sum(numeric) > MOST * len(numeric):
        return Fault(
            row,
            f"got {word!r}, want a number as elsewhere in the column (a missing value is an empty cell, NA, NaN, null"
            " or ?)",
        )
    return None


def _find_many_words(table: Table, index: int) -> Fault | None:
    if not is_text(table.columns[index]):
        return None
    words = {word for word in table.columns[index] if word is not None}
    if len(words) <= 20 or (len(words) <= MAX_CATEGORIES and len(words) <= len(table) / 2):
        return None
    return Fault(
        None,
        f"got {len(words)} different words in {len(table)} rows, such as {min(words)!r}, want at most"
        f" {MAX_CATEGORIES} categories",
    )
