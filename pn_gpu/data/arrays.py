"""Checks that turn arrays from files into inputs, labels and targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.checks import check_choice

Array = np.ndarray[Any, np.dtype[Any]]

TASKS = ("classification", "regression")


def as_inputs(name: str, values: Array) -> Array:
    """Any numeric array [B, ...] as float32 [B, N]; unsigned bytes are pixels and are divided by 255.

    Raises
    ------
    TypeError
        If the values are no real numbers.
    ValueError
        If there is no second dimension, no value at all, or one that is not finite in float32.
    """
    _check_real(name, values)
    if values.ndim < 2:
        raise ValueError(f"{name}: got shape {values.shape}, want [samples, features] or [samples, height, width]")
    if values.size == 0:
        raise ValueError(f"{name}: got shape {values.shape}, want at least one sample and one feature")
    rows = values.reshape(len(values), -1)
    if values.dtype == np.uint8:
        return np.divide(rows, np.float32(255), dtype=np.float32)
    return _as_finite_float32(name, rows)


def image_shape(values: Array) -> tuple[int, ...] | None:
    """The shape of one sample if it has more than one dimension."""
    return tuple(int(size) for size in values.shape[1:]) if values.ndim > 2 else None


def check_same_length(x_name: str, x: Array, y_name: str, y: Array) -> None:
    """A ValueError unless there is one label or target a sample."""
    if y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"{y_name}: got shape {y.shape}, want {len(x)} rows like {x_name}")


def as_outputs(
    names: tuple[str, str], y_train: Array, y_test: Array, task: str | None
) -> tuple[Array, Array, int | None]:
    """Labels int64 [B] and their number of classes, or targets float32 [B, K] and None.

    Parameters
    ----------
    names : pair of str
        What to call the two arrays in a message.
    y_train, y_test : array, [B] or [B, K]
    task : {"classification", "regression"} or None
        None is classification for whole numbers [B] or [B, 1] and for one-hot rows [B, K], else regression.

    Raises
    ------
    TypeError, ValueError
        If the values are no finite numbers, or labels are not 0..K-1.
    """
    if task is not None:
        check_choice("task", task, TASKS)
    for name, y in zip(names, (y_train, y_test), strict=True):
        _check_output(name, y)
    if y_train.shape[1:] != y_test.shape[1:]:
        raise ValueError(f"{names[1]}: got shape {y_test.shape}, want the columns of {names[0]}, {y_train.shape}")
    pairs = [(name, _as_label_column(y)) for name, y in zip(names, (y_train, y_test), strict=True)]
    if task is None:
        task = "classification" if all(_is_whole(y) for _, y in pairs) else "regression"
    if task == "regression":
        train, test = (
            _as_finite_float32(name, y.reshape(len(y), -1)) for name, y in zip(names, (y_train, y_test), strict=True)
        )
        return train, test, None
    train, test = (as_labels(name, y) for name, y in pairs)
    check_classes_complete(" and ".join(dict.fromkeys(names)), np.concatenate([train, test]))
    return train, test, int(max(train.max(), test.max())) + 1


def as_labels(name: str, y: Array) -> Array:
    """Whole numbers >= 0 [B] as int64, else a ValueError that shows the first other value."""
    _check_real(name, y)
    if y.ndim != 1:
        raise ValueError(f"{name}: got shape {y.shape}, want labels [samples] or one-hot rows")
    with np.errstate(invalid="ignore"):
        wrong = ~np.isfinite(y) | (y != np.floor(y)) | (y < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name}: got {y[row]!s} in row {row} (counted from 0), want labels 0..K-1")
    return y.astype(np.int64)


def check_classes_complete(name: str, labels: Array) -> None:
    """A ValueError unless the labels are 0..K-1 with K >= 2 and none of them missing."""
    present = np.unique(labels)
    if len(present) < 2:
        raise ValueError(f"{name}: got the label {present[0]} alone, want at least two classes")
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise ValueError(
            f"{name}: got labels up to {present[-1]} without {gaps[0]}, want every label of 0..K-1 "
            "(number the classes from 0, or say task='regression')"
        )


def _check_output(name: str, y: Array) -> None:
    if y.dtype.kind in "US":
        shown = f" (such as {str(y.flat[0])!r})" if y.size else ""
        raise TypeError(f"{name}: got strings{shown}, want numbers: classes are numbered 0..K-1")
    _check_real(name, y)
    if y.ndim not in (1, 2) or y.size == 0:
        raise ValueError(f"{name}: got shape {y.shape}, want [samples] or [samples, outputs], not empty")
    _check_finite(name, y.reshape(len(y), -1))


def _check_real(name: str, values: Array) -> None:
    if values.dtype.kind not in "buif":
        raise TypeError(f"{name}: got dtype {values.dtype}, want real numbers")


def _as_label_column(y: Array) -> Array:
    """[B, 1] and one-hot [B, K] as [B]; anything else as it is."""
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim == 2 and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()):
        return y.argmax(axis=1)
    return y


def _is_whole(y: Array) -> bool:
    return y.ndim == 1 and bool((y == np.floor(y)).all())


def _check_finite(name: str, rows: Array) -> None:
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = (int(i) for i in np.unravel_index(np.argmin(finite), rows.shape))
        raise ValueError(
            f"{name}: got {rows[row, column]} in row {row}, column {column} (counted from 0), want finite numbers"
        )


def _as_finite_float32(name: str, rows: Array) -> Array:
    _check_finite(name, rows)
    with np.errstate(over="ignore"):
        narrow = rows.astype(np.float32)
    finite = np.isfinite(narrow)
    if not finite.all():
        raise ValueError(f"{name}: got {rows.flat[int(np.argmin(finite))]}, too large for float32")
    return narrow
