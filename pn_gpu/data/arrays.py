"""Checks of arrays that come from files or from their owners."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Elements taken at once where a copy in float64 of all of them would be too much.
ELEMENTS_AT_ONCE = 2**22


def as_rows(name: str, values: Array) -> Array:
    """Any array of real numbers [B, ...] as [B, N], in its own dtype.

    Raises
    ------
    TypeError
        If the values are no real numbers.
    ValueError
        If there is no second dimension, no value at all, or an infinite one.
    """
    check_real(name, values)
    if values.ndim < 2:
        raise ValueError(f"{name}: got shape {values.shape}, want [samples, features] or [samples, height, width]")
    if values.size == 0:
        raise ValueError(f"{name}: got shape {values.shape}, want at least one sample and one feature")
    rows = values.reshape(len(values), -1)
    check_not_infinite(name, rows)
    return rows


def image_shape(values: Array) -> tuple[int, ...] | None:
    """The shape of one sample if it has more than one dimension."""
    return tuple(int(size) for size in values.shape[1:]) if values.ndim > 2 else None


def check_real(name: str, values: Array) -> None:
    """TypeError unless the values are real numbers or truth values."""
    if values.dtype.kind not in "buif":
        raise TypeError(f"{name}: got dtype {values.dtype}, want real numbers")


def check_same_length(x_name: str, x: Any, y_name: str, y: Array) -> None:
    """A ValueError unless there is one label or target a sample."""
    if y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"{y_name}: got shape {y.shape}, want {len(x)} rows like {x_name}")


def check_not_infinite(name: str, rows: Array) -> None:
    """A ValueError with the place of the first infinite value in [B, N], if there is one; NaN is a missing value."""
    if rows.dtype.kind == "f" and np.isinf(rows).any():
        row, column = (int(i) for i in np.unravel_index(np.argmax(np.isinf(rows)), rows.shape))
        raise ValueError(
            f"{name}: got {rows[row, column]} in row {row}, column {column} (counted from 0), want finite numbers"
        )


def rows_with_gaps(rows: Array) -> Array:
    """bool [B]: which rows of [B, N] hold a NaN."""
    if rows.dtype.kind != "f":
        return np.zeros(len(rows), bool)
    return np.asarray(np.isnan(rows).any(axis=1))


def as_float32(name: str, values: Array) -> Array:
    """Finite numbers as float32; a ValueError for one that is too large to be finite there."""
    with np.errstate(over="ignore"):
        narrow: Array = values.astype(np.float32)
    finite = np.isfinite(narrow)
    if not finite.all():
        raise ValueError(f"{name}: got {values.flat[int(np.argmin(finite))]}, too large for float32")
    return narrow


def mean_and_deviation(values: Array) -> tuple[Array, Array]:
    """Mean and deviation [C] of every column of [B, C], NaN left out, in float64.

    A column without a value has the mean 0; a constant one, and an empty one, the deviation 1.
    """
    width = max(1, ELEMENTS_AT_ONCE // max(len(values), 1))
    parts = [_mean_and_deviation(values[:, start : start + width]) for start in range(0, values.shape[1], width)]
    mean, deviation = (np.concatenate(results) for results in zip(*parts, strict=True))
    return mean, deviation


def _mean_and_deviation(values: Array) -> tuple[Array, Array]:
    values = values.astype(np.float64)
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=0), 1)
    values = np.where(there, values, 0)
    largest = np.abs(values).max(axis=0, initial=0)
    largest[largest == 0] = 1
    values /= largest  # the squares of large numbers would be infinite
    mean = values.sum(axis=0) / count
    deviation = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(axis=0) / count)
    is_constant = deviation <= 1e-12 * np.abs(mean)  # but for rounding
    return mean * largest, np.where(is_constant, 1, deviation * largest)
