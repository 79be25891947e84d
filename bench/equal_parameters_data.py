"""The data sets of `bench equal_parameters`: images, a signal and a table, each from a file or an installed package."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any

# The share of the training examples that a search is judged by.
VALIDATION = 0.15


class Split(NamedTuple):
    """Examples for training and for judging: x [B, N] of float32, y [B] of int64, both NumPy arrays."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @property
    def sizes(self) -> tuple[int, int]:
        """Features and classes."""
        return self.x_train.shape[1], int(max(self.y_train.max(), self.y_test.max())) + 1

    def for_search(self) -> Split:
        """The training examples alone, the last of them held back: a search never sees the test examples."""
        held = int(len(self.x_train) * VALIDATION)
        return Split(self.x_train[:-held], self.y_train[:-held], self.x_train[-held:], self.y_train[-held:])


def load_split(name: str, mnist: str) -> Split:
    """One of `DATA_SETS`; ``mnist`` is what `pn_gpu.data.load` takes for MNIST.

    Raises
    ------
    ImportError
        If the package that carries the data is not installed.
    """
    return _images(mnist) if name == "mnist" else DATA_SETS[name]()


def _images(source: str) -> Split:
    from pn_gpu.data import load

    data = load(source)
    labels = [np.asarray(y, np.int64) for y in (data.y_train, data.y_test)]
    return Split(np.asarray(data.x_train, np.float32), labels[0], np.asarray(data.x_test, np.float32), labels[1])


def _digits() -> Split:
    """The 8 x 8 digits that this package carries (UCI)."""
    return _images("digits")


def _mnist1d() -> Split:
    """Signals of 40 samples in ten classes, generated (Greydanus and Kobak, Scaling down deep learning, 2024)."""
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise ImportError("the data set mnist1d needs its package: pip install mnist1d") from error
    d = make_dataset(get_dataset_args())
    return Split(
        d["x"].astype(np.float32), d["y"].astype(np.int64), d["x_test"].astype(np.float32), d["y_test"].astype(np.int64)
    )


def _segments() -> Split:
    """Image segments described by 18 numbers, in seven classes (UCI), as the package river carries them."""
    try:
        from river.datasets import ImageSegments
    except ImportError as error:
        raise ImportError("the data set segments needs the package that carries it: pip install river") from error
    rows = list(ImageSegments())
    x = np.array([list(features.values()) for features, _ in rows], np.float32)
    classes = sorted({label for _, label in rows})
    y = np.array([classes.index(label) for _, label in rows], np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[: 3 * len(x) // 4], order[3 * len(x) // 4 :]
    mean, deviation = x[train].mean(0), x[train].std(0)
    x = (x - mean) / np.where(deviation > 0, deviation, 1)
    return Split(x[train], y[train], x[test], y[test])


DATA_SETS = {"mnist": _images, "mnist1d": _mnist1d, "digits": _digits, "segments": _segments}
FEATURES_AND_CLASSES = {"mnist": (784, 10), "mnist1d": (40, 10), "digits": (64, 10), "segments": (18, 7)}
