"""A table as it was read: columns of numbers or of words, before anything is done to them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pn_gpu.data.arrays import Array


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length.

    Attributes
    ----------
    path : path
        The file, for messages.
    names : tuple of str or None
        Of the columns, if the file names them.
    columns : tuple of array, [B]
        float64, with NaN where a number is missing, or object: words, and None where one is missing.
    row_label : callable
        How a message calls a row (counted from 0), such as "line 7".
    notes : tuple of str
        What was decided in reading that the file does not say.
    decimal : str
        With which numbers among the words are written.
    places : tuple of int
        Which column of the file each is, counted from 0; by default all in order.
    """

    path: Path
    names: tuple[str, ...] | None
    columns: tuple[Array, ...] = field(repr=False)
    row_label: Callable[[int], str] = field(repr=False, default=lambda row: f"row {row} (counted from 0)")
    notes: tuple[str, ...] = ()
    decimal: str = "."
    places: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.columns)

    def column_label(self, index: int) -> str:
        """A column as a message calls it: its place in the file, counted from 1, as lines are, with its name."""
        place = self.places[index] if self.places else index
        return f"column {place + 1}" + (f" ({self.names[index]!r})" if self.names else "")

    def find(self, column: str | int, option: str = "target") -> int:
        """The index of a column given by its name or number (counted from 0; negative: from the end)."""
        if isinstance(column, str) and self.names is not None and column in self.names:
            if self.names.count(column) > 1:
                raise ValueError(
                    f"{option}: {self.path} has {self.names.count(column)} columns {column!r}, want a number"
                )
            return self.names.index(column)
        if isinstance(column, str):
            try:
                column = int(column)
            except ValueError:
                names = ", ".join(self.names) if self.names else "(there is no header)"
                raise ValueError(f"{option}: got {column!r}, want a column of {self.path}: {names}") from None
        if isinstance(column, bool) or not isinstance(column, int):
            raise TypeError(f"{option}: got {column!r} ({type(column).__name__}), want the name or number of a column")
        if not -self.width <= column < self.width:
            raise ValueError(
                f"{option}: got column {column}, want 0..{self.width - 1} (or negative, from the end) of {self.path}"
            )
        return column % self.width

    def leave_out(self, indices: Sequence[int]) -> str:
        """How to leave columns out, for a message; nothing for none."""
        if not indices:
            return ""
        names = [self.names[i] if self.names else self.places[i] if self.places else i for i in indices]
        typed = " ".join(shlex.quote(str(name)) for name in names)
        return f"drop={names} (--drop {typed}) leaves the column{'s' if len(names) > 1 else ''} out"

    def select(self, indices: Sequence[int]) -> Table:
        """The columns of those indices, in that order."""
        return replace(
            self,
            names=None if self.names is None else tuple(self.names[index] for index in indices),
            columns=tuple(self.columns[index] for index in indices),
            places=tuple(self.places[index] if self.places else index for index in indices),
        )

    def without(self, indices: Sequence[int]) -> Table:
        """All columns but those of the given indices."""
        return self.select([index for index in range(self.width) if index not in indices])

    def take(self, rows: Array) -> Table:
        """The rows of those numbers, in that order."""
        label = self.row_label
        return replace(
            self,
            columns=tuple(column[rows] for column in self.columns),
            row_label=lambda row: label(int(rows[row])),
        )

    def matching(self, names: Sequence[str]) -> Table:
        """The columns of those names in that order, whatever others there are.

        Raises
        ------
        ValueError
            If one is not there.
        """
        have = self.names or ()
        missing = [name for name in names if name not in have]
        if missing:
            raise ValueError(
                f"{self.path}: no column {', '.join(map(repr, missing[:5]))}, want the columns of the training:"
                f" {', '.join(names)}"
            )
        return self.select([have.index(name) for name in names])


def is_text(column: Array) -> bool:
    """Whether a column holds words, not numbers."""
    return column.dtype.kind == "O"


def missing_in(column: Array) -> Array:
    """bool [B]: where a column has no value."""
    if is_text(column):
        return np.fromiter((value is None for value in column), bool, len(column))
    return np.isnan(column)
