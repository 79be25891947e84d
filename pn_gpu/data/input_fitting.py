"""Which coding the inputs of a training ask for."""

from __future__ import annotations

import numpy as np

from pn_gpu.checks import check_choice
from pn_gpu.data.arrays import ELEMENTS_AT_ONCE, Array, mean_and_deviation
from pn_gpu.data.columns import Table, is_text
from pn_gpu.data.input_coding import MISSING, PIXEL, InputCoding

SCALES = ("auto", "standard", "none")

# A deviation that is so much larger than the range of the middle half is that of one or a few values of another kind.
ALIKE = 1e-3
ROWS_LOOKED_AT = 1000
NOTES = 5


def fit_inputs(
    inputs: Array | Table, training: Array | slice, scale: str = "auto", missing: str = "mean"
) -> InputCoding:
    """The coding of inputs as their training part asks for it.

    Parameters
    ----------
    inputs : array [B, ...] or Table
        Categories are those of all rows.
    training : array of row numbers, or slice
        Means and deviations are those of these rows.
    scale : {"auto", "standard", "none"}
        standard: every column of numbers gets the mean 0 and the deviation 1. none: they stay as they are. auto:
        unsigned bytes are pixels and are divided by 255, other numbers are standardised.
    missing : {"mean", "drop", "refuse"}
    """
    check_choice("scale", scale, SCALES)
    check_choice("missing", missing, MISSING)
    if isinstance(inputs, Table):
        return _fit_table(inputs, training, scale, missing)
    width = int(np.prod(inputs.shape[1:]))
    if scale == "auto" and inputs.dtype == np.uint8:
        return pixel_coding(width)
    zeros, ones = np.zeros(width), np.ones(width)
    rows = inputs[training].reshape(-1, width)
    mean, deviation = mean_and_deviation(rows)
    if scale == "none":
        return InputCoding(width, zeros, ones, mean, missing=missing)
    return InputCoding(width, mean, deviation, mean, missing=missing)


def pixel_coding(width: int, largest: float = PIXEL) -> InputCoding:
    """Inputs that are divided by the largest value of a pixel."""
    return InputCoding(width, np.zeros(width), np.full(width, largest), np.zeros(width), pixels=True)


def plain_coding(width: int) -> InputCoding:
    """Inputs of a network of which nothing is known: unsigned bytes are pixels, other numbers stay as they are."""
    zeros = np.zeros(width)
    return InputCoding(width, zeros, np.ones(width), zeros, missing="refuse", bytes_are_pixels=True)


def _fit_table(table: Table, training: Array | slice, scale: str, missing: str) -> InputCoding:
    offset, deviation, mean = np.zeros(table.width), np.ones(table.width), np.zeros(table.width)
    categories = {}
    for index, column in enumerate(table.columns):
        if is_text(column):
            categories[index] = _find_categories(column)
            continue
        column_mean, column_deviation = mean_and_deviation(column[training][:, None])
        mean[index] = column_mean[0]
        if scale != "none":
            offset[index], deviation[index] = column_mean[0], column_deviation[0]
    return InputCoding(table.width, offset, deviation, mean, table.names, categories, missing)


def _find_categories(column: Array) -> tuple[str, ...]:
    return tuple(sorted({word for word in column if word is not None}))


def note_outliers(inputs: Array | Table, training: Array | slice, coding: InputCoding) -> list[str]:
    """What to say of columns in which a value is so large that all others are alike once standardised."""
    numbers = [index for index in range(coding.width) if index not in coding.categories]
    if coding.pixels or (coding.scale == 1).all() or not numbers:
        return []
    columns = inputs.columns if isinstance(inputs, Table) else inputs.reshape(len(inputs), -1).T
    rows = np.arange(len(inputs))[training]
    some = rows[: min(ROWS_LOOKED_AT, max(ELEMENTS_AT_ONCE // coding.width, 20))]
    sample = np.stack([columns[index][some].astype(np.float64) for index in numbers], axis=1)
    low, high = np.percentile(np.where(np.isnan(sample), coding.mean[numbers], sample), [25, 75], axis=0)
    alike = (low < high) & (high - low < ALIKE * coding.scale[numbers])
    found = [numbers[place] for place in np.flatnonzero(alike)]
    notes = []
    for index in found[:NOTES]:
        label = inputs.column_label(index) if isinstance(inputs, Table) else f"column {index} (counted from 0)"
        column = columns[index][rows]
        notes.append(
            f"{label}: a value of {column[np.nanargmax(np.abs(column - coding.mean[index]))]:g} makes all others nearly"
            " the same once standardised; if it stands for a missing one, leave it empty (NaN)"
        )
    return notes + ([f"and so in {len(found) - NOTES} columns more"] if len(found) > NOTES else [])
