"""Pictures of what a network predicts: a confusion matrix, and predicted against true values."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.figures import Axes, Path_, finish, new_figure

Array = np.ndarray[Any, np.dtype[Any]]

# More classes than this, and the numbers in a confusion matrix, or all the labels, cannot be read.
MAX_NUMBERS, MAX_LABELS = 16, 40

CLASSES_A_COLUMN_SHOWS = 12


def confusion_matrix(true: Array, predicted: Array, ax: Axes | None = None, path: Path_ | None = None) -> Axes:
    """How many examples of every class (rows) are taken for which (columns), as an image with numbers.

    Parameters
    ----------
    true, predicted : array, [B]
        Labels: whole numbers or words.
    ax : Axes, optional
        To draw on.
    path : path, optional
        Where to save the figure; the suffix says the format.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is not one prediction for a label, or none at all.
    """
    true, predicted = _check_pair(true, predicted)
    if true.ndim != 1:
        raise ValueError(f"true: got shape {true.shape}, want labels [examples]")
    labels, positions = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (positions[: len(true)], positions[len(true) :]), 1)
    ax = new_figure((5.2, 5)).add_subplot() if ax is None else ax
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # of the class, so that a rare one shows too
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if len(labels) <= MAX_NUMBERS:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.6 else "black"
            ax.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    if len(labels) <= MAX_LABELS:
        words = [str(label) for label in labels]
        turned = 90 if len(words) * max(map(len, words)) > 4 * CLASSES_A_COLUMN_SHOWS else 0
        ax.set_xticks(range(len(words)), words, rotation=turned, fontsize=8)
        ax.set_yticks(range(len(words)), words, fontsize=8)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.set_title(f"{int(np.trace(counts))} of {len(true)} right, {100 * np.trace(counts) / len(true):.1f} %")
    return finish(ax, path)


def predicted_against_true(true: Array, predicted: Array, ax: Axes | None = None, path: Path_ | None = None) -> Axes:
    """Predicted values over true ones, a point an example, beside the line of perfect predictions.

    Parameters
    ----------
    true, predicted : array, [B] or [B, K]
        In the units of the targets.
    ax, path
        As in `confusion_matrix`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is not one prediction for a value, or none at all.
    """
    true, predicted = _check_pair(true, predicted)
    ax = new_figure((5.2, 5)).add_subplot() if ax is None else ax
    columns = list(zip(true.reshape(len(true), -1).T, predicted.reshape(len(true), -1).T, strict=True))
    for index, (x, y) in enumerate(columns):
        label = f"output {index}" if 1 < len(columns) <= MAX_LABELS else None
        ax.scatter(x, y, s=float(np.clip(2000 / len(x), 3, 25)), alpha=0.6, linewidths=0, label=label)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    ax.plot(ends, ends, color="black", lw=0.8, zorder=0)
    ax.set_aspect("equal", adjustable="datalim")
    ax.grid(alpha=0.3, lw=0.5)
    ax.set_xlabel("true")
    ax.set_ylabel("predicted")
    error = float(np.sqrt(((true - predicted) ** 2).mean()))
    ax.set_title(f"root mean squared error {error:.4g}")
    if len(columns) > 1:
        ax.legend(fontsize=8)
    return finish(ax, path)


def _check_pair(true: Array, predicted: Array) -> tuple[Array, Array]:
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape or true.ndim not in (1, 2) or not true.size:
        raise ValueError(
            f"predicted: got shape {predicted.shape}, want that of true, {true.shape}: [examples], at least one"
        )
    return true, predicted
