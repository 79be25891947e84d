"""What is done to the inputs before a network sees them, so that it can be done again to other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pn_gpu.checks import check_choice, check_flag, check_integer
from pn_gpu.data.arrays import ELEMENTS_AT_ONCE, Array, as_float32, as_rows
from pn_gpu.data.cells import Fault, as_numbers, find_infinite, raise_faults
from pn_gpu.data.columns import Table, is_text, missing_in
from pn_gpu.data.text_layout import is_number

MISSING = ("mean", "drop", "refuse")

PIXEL = 255.0


@dataclass(frozen=True, eq=False)
class InputCoding:
    """Inputs of one network: ``(x - offset) / scale`` for numbers, a column of 0 and 1 for every category.

    Attributes
    ----------
    width : int
        Columns before the coding, C.
    offset, scale : float64 array, [C]
        0 and 1 for columns of categories.
    names : tuple of str or None
        The columns' names, by which they are found in a table.
    categories : mapping of int to tuple of str
        The words of every column of categories; a missing word is no category at all.
    missing : {"mean", "drop", "refuse"}
        Whether a missing number is replaced by ``offset``'s mean or refused ("drop" refuses too: in prediction there
        must be an answer for every row).
    mean : float64 array, [C]
        What a missing number is replaced by.
    pixels : bool
        Whether ``scale`` is the largest value of a pixel, so that values from 0 to 1 have been divided by it already.
    bytes_are_pixels : bool
        Whether unsigned bytes, and they alone, are divided by 255: where nothing is known of the training.
    """

    width: int
    offset: Array = field(repr=False)
    scale: Array = field(repr=False)
    mean: Array = field(repr=False)
    names: tuple[str, ...] | None = None
    categories: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    missing: str = "mean"
    pixels: bool = False
    bytes_are_pixels: bool = False

    @property
    def num_features(self) -> int:
        """N, the inputs of the network."""
        return self.width + sum(len(words) - 1 for words in self.categories.values())

    def describe(self) -> str:
        """In a few words, for people."""
        parts = []
        numbers = self.width - len(self.categories)
        if self.pixels:
            parts.append(f"divided by {self.scale[0]:g}")
        elif numbers and ((self.offset != 0) | (self.scale != 1)).any():
            parts.append("standardised (mean 0, deviation 1)")
        else:
            parts.append("as they are")
        if self.categories:
            columns = "1 column" if len(self.categories) == 1 else f"{len(self.categories)} columns"
            parts.append(f"{columns} of words as {self._num_words} of 0 and 1")
        return ", ".join(parts)

    @property
    def _num_words(self) -> int:
        return sum(map(len, self.categories.values()))

    def encode(self, name: str, inputs: Array | Table, notes: list[str] | None = None) -> Array:
        """Inputs as the network takes them, float32 [B, N].

        Parameters
        ----------
        name : str
            What to call the inputs in a message.
        inputs : array [B, ...] or Table
            A table's columns are found by their names if both have names, else taken in their order.
        notes : list of str, optional
            Gets a line for what was done that the caller may not expect.

        Raises
        ------
        ValueError, TypeError
            If there are not as many columns, or values are missing that must not be, unknown words, or too large.
        """
        notes = [] if notes is None else notes
        if isinstance(inputs, Table):
            if self.names is not None and inputs.names is not None:
                inputs = inputs.matching(self.names)
            self._check_width(name, inputs.width)
            inputs = self._checked(inputs)
            if not self.categories:
                return self._encode_numbers(name, np.stack(inputs.columns, axis=1), notes)
            return self._encode_columns(name, inputs, notes)
        rows = as_rows(name, inputs)
        self._check_width(name, rows.shape[1])
        if self.categories:
            index = next(iter(self.categories))
            raise ValueError(
                f"{name}: got an array of numbers, want a table: column {index + 1} holds words such as"
                f" {self.categories[index][0]!r}"
            )
        return self._encode_numbers(name, rows, notes)

    def _check_width(self, name: str, width: int) -> None:
        if width != self.width:
            raise ValueError(f"{name}: got {width} columns, want [examples, {self.width}], as in training")

    def _encode_numbers(self, name: str, rows: Array, notes: list[str]) -> Array:
        if self.bytes_are_pixels and rows.dtype == np.uint8:
            return np.divide(rows, np.float32(PIXEL), dtype=np.float32)
        gaps = int(np.isnan(rows).sum()) if rows.dtype.kind == "f" else 0
        self._note_gaps(name, gaps, notes)
        if self.pixels and gaps == 0 and _are_divided(rows):
            notes.append(
                f"the inputs lie between 0 and 1 and are taken for pixels divided by {self.scale[0]:g} already"
            )
            return as_float32(name, rows)
        result = np.empty(rows.shape, np.float32)
        step = max(1, ELEMENTS_AT_ONCE // self.width)
        for part in (slice(start, start + step) for start in range(0, len(rows), step)):
            block = rows[part].astype(np.float64)
            if gaps:
                block = np.where(np.isnan(block), self.mean, block)
            with np.errstate(over="ignore"):
                result[part] = as_float32(name, (block - self.offset) / self.scale)
        return result

    def _encode_columns(self, name: str, table: Table, notes: list[str]) -> Array:
        parts = []
        gaps = 0
        for index, column in enumerate(table.columns):
            gaps += int(missing_in(column).sum())
            if index in self.categories:
                parts.append(_one_hot(column, self.categories[index]))
                continue
            filled = np.where(np.isnan(column), self.mean[index], column)
            with np.errstate(over="ignore"):
                parts.append(as_float32(name, (filled - self.offset[index]) / self.scale[index])[:, None])
        self._note_gaps(name, gaps, notes)
        return np.concatenate(parts, axis=1)

    def _checked(self, table: Table) -> Table:
        """The table, with numbers and words in the columns that had them in training; all others are told of."""
        columns, faults = [], {}
        for index in range(table.width):
            words = self.categories.get(index)
            column = as_numbers(table, index) if words is None else _as_words(table.columns[index])
            fault = _find_no_number(table, column) if words is None else _find_unknown(column, words)
            if fault is not None:
                faults[index] = fault
            columns.append(column)
        raise_faults(table, faults)
        return replace(table, columns=tuple(columns))

    def _note_gaps(self, name: str, gaps: int, notes: list[str]) -> None:
        if gaps and self.missing != "mean":
            raise ValueError(
                f"{name}: got {gaps} missing values (NaN), want none; missing='mean' (--missing mean) in training"
                " replaces them by their column's mean"
            )
        if gaps:
            notes.append(f"{gaps} missing values: replaced by the column's mean, or no category")

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "width": self.width,
            "offset": _shortened(self.offset),
            "scale": _shortened(self.scale),
            "mean": _shortened(self.mean),
            "names": self.names,
            "categories": {str(index): list(words) for index, words in self.categories.items()},
            "missing": self.missing,
            "pixels": self.pixels,
            "bytes_are_pixels": self.bytes_are_pixels,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputCoding:
        """What `to_json` made; ValueError, TypeError or KeyError for anything else."""
        width = check_integer("width", data["width"], low=1)
        names = data["names"]
        coding = cls(
            width,
            offset=_lengthened("offset", data["offset"], width),
            scale=_lengthened("scale", data["scale"], width),
            mean=_lengthened("mean", data["mean"], width),
            names=None if names is None else tuple(map(str, names)),
            categories={int(index): tuple(map(str, words)) for index, words in dict(data["categories"]).items()},
            missing=check_choice("missing", data["missing"], MISSING),
            pixels=check_flag("pixels", data["pixels"]),
            bytes_are_pixels=check_flag("bytes_are_pixels", data["bytes_are_pixels"]),
        )
        if names is not None and len(names) != width:
            raise ValueError(f"names: got {len(names)}, want {width}")
        if not all(0 <= index < width and words for index, words in coding.categories.items()):
            raise ValueError(f"categories: got {data['categories']!r}, want words of columns below {width}")
        return coding


def _as_words(column: Array) -> Array:
    """Words also where a few rows of a table hold nothing but numerals, which are read as numbers."""
    if is_text(column):
        return column
    return np.array([None if np.isnan(value) else f"{value:g}" for value in column], dtype=object)


def _find_no_number(table: Table, column: Array) -> Fault | None:
    if not is_text(column):
        return find_infinite(column)
    row = next(row for row, word in enumerate(column) if word is not None and not is_number(word, table.decimal))
    return Fault(row, f"got {column[row]!r}, want a number as in training")


def _find_unknown(column: Array, words: Sequence[str]) -> Fault | None:
    known = {None, *words}
    row = next((row for row, word in enumerate(column) if word not in known), None)
    if row is None:
        return None
    shown = ", ".join(words[:10]) + (", ..." if len(words) > 10 else "")
    return Fault(row, f"got {column[row]!r}, want one of the training's categories: {shown}")


def _one_hot(column: Array, words: Sequence[str]) -> Array:
    """float32 [B, K] of known words; a missing word is a row of zeros."""
    numbers = {word: number for number, word in enumerate(words)}
    result = np.zeros((len(column), len(words)), np.float32)
    for row, word in enumerate(column):
        if word is not None:
            result[row, numbers[word]] = 1
    return result


def _are_divided(rows: Array) -> bool:
    """Whether pixels lie in 0 to 1 and are fractions: whole numbers of 0 and 1 may be very dark bytes."""
    if rows.dtype.kind != "f":
        return False
    return bool(rows.min() >= 0 and rows.max() <= 1) and bool((rows != np.floor(rows)).any())


def _shortened(values: Array) -> float | list[float]:
    """One number if all are the same."""
    return float(values[0]) if len(values) and (values == values[0]).all() else values.tolist()


def _lengthened(key: str, values: Any, width: int) -> Array:
    """What `_shortened` made, for all columns again."""
    array = np.asarray(values, np.float64)
    if array.shape not in ((), (width,)) or not np.isfinite(array).all() or (key == "scale" and (array == 0).any()):
        raise ValueError(f"{key}: want a finite number, or {width} of them, and no scale of 0")
    return np.broadcast_to(array, width)
