"""What a network's outputs stand for: classes in their own words, or numbers in their own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pn_gpu.checks import check_choice
from pn_gpu.data.arrays import Array, as_float32, check_real, mean_and_deviation, rows_with_gaps
from pn_gpu.data.columns import is_text, missing_in

TASKS = ("classification", "regression")

# Whole numbers of more different values than this are quantities, unless they are 0..K-1 and each is frequent.
MAX_CLASSES_OF_NUMBERS = 20
MAX_CLASSES_IN_ORDER, ROWS_A_CLASS = 100, 10


@dataclass(frozen=True)
class Classes:
    """Targets that are classes.

    Attributes
    ----------
    labels : tuple of str, or of int or float
        What the classes are called in the data, in order; class k is output k.
    """

    labels: tuple[str | int | float, ...]

    @property
    def num_outputs(self) -> int:
        """K, one output a class."""
        return len(self.labels)

    def encode(self, name: str, y: Array) -> Array:
        """Labels [B] as class numbers 0..K-1, int64 [B].

        Raises
        ------
        ValueError
            If there is another label.
        """
        y = as_label_column(y)
        if y.ndim != 1:
            raise ValueError(f"{name}: got shape {y.shape}, want labels [samples] or one-hot rows")
        # As words, since another container may hold numbers or truth values as such, or in words.
        known = {str(label): number for number, label in enumerate(self.labels)}
        known |= {str(int(label)): number for number, label in enumerate(self.labels) if isinstance(label, bool)}
        distinct, positions = _distinct(y)
        unknown = [label for label in distinct if str(label) not in known]
        if unknown:
            shown = ", ".join(map(str, self.labels[:10])) + (", ..." if len(self.labels) > 10 else "")
            raise ValueError(f"{name}: got the label {unknown[0]!r}, want one of {shown}")
        numbers = np.array([known[str(label)] for label in distinct], np.int64)
        return numbers[positions]

    def decode(self, numbers: Array) -> Array:
        """Class numbers [B] as labels [B] in their own words."""
        return np.array(self.labels)[numbers]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"labels": list(self.labels)}


@dataclass(frozen=True, eq=False)
class Numbers:
    """Targets that are numbers: the network's outputs are ``(y - offset) / scale``.

    Attributes
    ----------
    offset, scale : float64 array, [K]
    """

    offset: Array = field(repr=False)
    scale: Array = field(repr=False)

    @property
    def num_outputs(self) -> int:
        """K, one output a column."""
        return len(self.offset)

    def encode(self, name: str, y: Array) -> Array:
        """Numbers [B] or [B, K] as the network is to put them out, float32 [B, K]."""
        if is_text(y):
            raise ValueError(f"{name}: got {y[0]!r}, want numbers as in training")
        rows = y.reshape(len(y), -1).astype(np.float64)
        if rows.shape[1] != self.num_outputs:
            raise ValueError(f"{name}: got shape {y.shape}, want [{len(y)}, {self.num_outputs}]")
        with np.errstate(over="ignore"):
            return as_float32(name, (rows - self.offset) / self.scale)

    def decode(self, outputs: Array) -> Array:
        """The network's outputs [B, K] in the units of the targets, float64 [B, K]."""
        return outputs.astype(np.float64) * self.scale + self.offset

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist()}


TargetCoding = Classes | Numbers


def target_coding_from_json(data: Mapping[str, Any]) -> TargetCoding:
    """What `to_json` made; ValueError, TypeError or KeyError for anything else."""
    if "labels" in data:
        labels = tuple(data["labels"])
        if len(set(labels)) != len(labels) or not all(isinstance(label, str | int | float) for label in labels):
            raise ValueError(f"labels: got {labels!r}, want words or numbers, each once")
        return Classes(labels)
    numbers = Numbers(np.array(data["offset"], np.float64), np.array(data["scale"], np.float64))
    if numbers.offset.ndim != 1 or numbers.offset.shape != numbers.scale.shape:
        raise ValueError("offset and scale: want two lists of one length")
    if not np.isfinite([numbers.offset, numbers.scale]).all() or (numbers.scale == 0).any():
        raise ValueError("offset and scale: want finite numbers, and no scale of 0")
    return numbers


def check_targets(name: str, y: Array) -> Array:
    """Words [B] or real numbers [B] or [B, K] as they are; TypeError or ValueError for anything else."""
    if y.dtype.kind == "U":
        y = y.astype(object)
    if not (is_text(y) and y.ndim == 1):
        check_real(name, y)
    if y.ndim not in (1, 2) or y.size == 0:
        raise ValueError(f"{name}: got shape {y.shape}, want [samples] or [samples, outputs], not empty")
    if y.dtype.kind == "f" and np.isinf(y).any():
        row = int(np.argmax(np.isinf(y.reshape(len(y), -1)).any(axis=1)))
        raise ValueError(f"{name}: got an infinite value in row {row} (counted from 0), want finite numbers")
    return y


def has_target(y: Array) -> Array:
    """bool [B]: where the target of a row is known."""
    if is_text(y):
        return ~missing_in(y)
    return ~rows_with_gaps(y.reshape(len(y), -1))


def fit_targets(
    name: str, y: Array, training: Array | slice, task: str | None = None, standardise: bool = True
) -> tuple[TargetCoding, str]:
    """What the outputs stand for, and a sentence that says so.

    Parameters
    ----------
    name : str
        What to call the targets in a message.
    y : array [B] or [B, K]
        All targets, none missing; classes are those of all rows.
    training : array of row numbers, or slice
        Mean and deviation are those of these rows.
    task : {"classification", "regression"}, optional
        By default classification for words, for one-hot rows and for few different whole numbers, else regression.
    standardise : bool
        Whether numbers get the mean 0 and the deviation 1.

    Raises
    ------
    ValueError
        If the targets do not suit the task.
    """
    if task is not None:
        check_choice("task", task, TASKS)
    column = as_label_column(y)
    if is_text(column) and task == "regression":
        raise ValueError(f"{name}: got {column[0]!r}, want numbers for task='regression' (--task regression)")
    chosen = task or ("classification" if _are_classes(column) else "regression")
    if chosen == "regression":
        return _fit_numbers(y[training], standardise), _say_numbers(column, task)
    distinct = _check_labels(name, column)
    return Classes(tuple(distinct)), _say_classes(column, distinct, task)


def as_label_column(y: Array) -> Array:
    """[B, 1] and one-hot [B, K] as [B]; anything else as it is."""
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim == 2 and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()):
        return y.argmax(axis=1)
    return y


def _are_classes(column: Array) -> bool:
    if is_text(column):
        return True
    if not _are_whole(column):
        return False
    distinct = np.unique(column)
    count, rows = len(distinct), len(column)
    if count <= max(2, min(MAX_CLASSES_OF_NUMBERS, rows // 2)):
        return True
    in_order = bool((distinct == np.arange(count)).all())
    return in_order and count <= MAX_CLASSES_IN_ORDER and rows >= ROWS_A_CLASS * count


def _are_whole(column: Array) -> bool:
    return column.ndim == 1 and not is_text(column) and bool((column == np.floor(column)).all())


def _check_labels(name: str, column: Array) -> list[Any]:
    if column.ndim != 1:
        raise ValueError(f"{name}: got shape {column.shape}, want labels [samples] or one-hot rows")
    if not is_text(column) and not _are_whole(column):
        row = int(np.argmax(column != np.floor(column)))
        raise ValueError(
            f"{name}: got {column[row]} in row {row} (counted from 0), want whole numbers or words for"
            " task='classification' (--task classification)"
        )
    distinct, _ = _distinct(column)
    if len(distinct) < 2:
        raise ValueError(f"{name}: got the label {distinct[0]!r} alone, want at least two classes")
    if len(distinct) > max(2, len(column) / 2):
        raise ValueError(
            f"{name}: got {len(distinct)} different labels in {len(column)} rows, such as {distinct[-1]!r}, want at"
            " least two rows for a class; task='regression' (--task regression) takes numbers as they are"
        )
    return distinct


def _distinct(column: Array) -> tuple[list[Any], Array]:
    """The different labels in order, as Python's own words and whole numbers, and which of them every row has."""
    if is_text(column):
        labels = sorted(set(column))
        numbers = {label: number for number, label in enumerate(labels)}
        return labels, np.array([numbers[label] for label in column], np.int64)
    values, positions = np.unique(column.astype(int) if column.dtype == bool else column, return_inverse=True)
    return [*own_words(values)], positions.reshape(-1)


def own_words(labels: Array) -> tuple[str | int | float, ...]:
    """Labels [K] as Python's own words, truth values and numbers, whole ones as such: what a file can keep."""
    return tuple(_own_word(label) for label in labels.tolist())


def _own_word(label: Any) -> str | int | float:
    if isinstance(label, float):
        return int(label) if label.is_integer() else label
    return label if isinstance(label, str | int) else str(label)


def _fit_numbers(y: Array, standardise: bool) -> Numbers:
    rows = y.reshape(len(y), -1).astype(np.float64)
    if standardise:
        return Numbers(*mean_and_deviation(rows))
    return Numbers(np.zeros(rows.shape[1]), np.ones(rows.shape[1]))


def _say_classes(column: Array, distinct: list[Any], task: str | None) -> str:
    shown = ", ".join(map(str, distinct[:6])) + (f", ... {distinct[-1]}" if len(distinct) > 6 else "")
    sentence = f"{len(distinct)} classes: {shown}"
    is_choice = task is None and not is_text(column)
    return sentence + (" (--task regression takes them for numbers)" if is_choice else "")


def _say_numbers(column: Array, task: str | None) -> str:
    if column.ndim == 2:
        return f"numbers, {column.shape[1]} columns"
    sentence = f"numbers, {column.min():g} to {column.max():g}"
    is_choice = task is None and _are_whole(column)
    return sentence + (" (--task classification takes them for classes)" if is_choice else "")
