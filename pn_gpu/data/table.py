"""The user's own data: one .npz or .csv file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pn_gpu.checks import check_integer, check_number
from pn_gpu.data.arrays import Array, as_inputs, as_outputs, check_same_length, image_shape
from pn_gpu.data.csv_file import read_csv
from pn_gpu.data.dataset import Dataset
from pn_gpu.data.npz_file import read_npz


def load_table(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    task: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    header: bool | None = None,
) -> Dataset:
    """A data set from a .npz or .csv file.

    A .npz file holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or ``x`` and ``y``, which are split
    here: inputs [B, ...] and labels [B], one-hot rows [B, K] or targets [B, K]. Inputs of unsigned bytes are
    taken for pixels and divided by 255; all others are kept as they are.

    A .csv file holds one sample a line, numbers only, separated by commas, semicolons or tabs; one column is
    the target, all others are inputs, kept as they are.

    Parameters
    ----------
    path : path
        Ends in .npz or .csv.
    target : str or int, optional
        Column of a .csv file with the label or target: a name in its header or a number counted from 0
        (negative: from the end). The last one by default.
    task : {"classification", "regression"}, optional
        By default classification if all targets are whole numbers or one-hot rows, else regression.
    test_fraction : float, default 0.2
        Share of the samples that becomes the test part, 0 < test_fraction < 1; at least one sample.
    seed : int, default 0
        Of the random split.
    header : bool, optional
        Whether the first line of a .csv file names the columns. By default it does if it is not all numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If an option or the file is wrong; the message names the key, or the line and the column.
    """
    path = Path(path)
    check_number("test_fraction", test_fraction, low=0, high=1, low_open=True, high_open=True)
    check_integer("seed", seed, low=0)
    check_is_file(path)
    if path.suffix.lower() == ".csv":
        x, y = read_csv(path, target, header)
        arrays = {"x": x, "y": y}
    elif path.suffix.lower() == ".npz":
        for name, option in (("target", target), ("header", header)):
            if option is not None:
                raise ValueError(f"{name}: got {option!r} for {path}, want it for a .csv file only")
        arrays = read_npz(path, ("x_train", "y_train", "x_test", "y_test"), ("x", "y"))
    else:
        raise ValueError(f"{path}: got a file of type {path.suffix or '(none)'!s}, want .npz or .csv")
    return _dataset(path, arrays, task, test_fraction, seed)


def check_is_file(path: Path) -> None:
    """FileNotFoundError or ValueError unless there is a file at ``path``."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise ValueError(f"{path}: got a folder, want a file")


def _dataset(path: Path, arrays: dict[str, Array], task: str | None, test_fraction: float, seed: int) -> Dataset:
    def label(key: str) -> str:
        return f"{path}: {key}"

    if "x" in arrays:
        x, y = arrays["x"], arrays["y"]
        check_same_length("x", x, label("y"), y)
        inputs = as_inputs(label("x"), x)
        if len(inputs) < 2:
            raise ValueError(f"{path}: got 1 sample, want at least 2: one to train and one to test on")
        shape = image_shape(x)
        # Checked whole, so that the row in a message is the row of the file.
        outputs, _, num_classes = as_outputs((label("y"), label("y")), y, y, task)
        train, test = _split(len(inputs), test_fraction, seed)
        return Dataset(path.stem, inputs[train], outputs[train], inputs[test], outputs[test], num_classes, shape)
    for part in ("train", "test"):
        check_same_length(f"x_{part}", arrays[f"x_{part}"], label(f"y_{part}"), arrays[f"y_{part}"])
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise ValueError(
            f"{label('x_test')}: got samples of shape {arrays['x_test'].shape[1:]}, "
            f"want {arrays['x_train'].shape[1:]} like x_train"
        )
    x_train, x_test = (as_inputs(label(key), arrays[key]) for key in ("x_train", "x_test"))
    y_train, y_test, num_classes = as_outputs(
        (label("y_train"), label("y_test")), arrays["y_train"], arrays["y_test"], task
    )
    return Dataset(path.stem, x_train, y_train, x_test, y_test, num_classes, image_shape(arrays["x_train"]))


def _split(num_samples: int, test_fraction: float, seed: int) -> tuple[Array, Array]:
    """Row numbers for training and for testing, at least one each."""
    num_test = min(max(round(num_samples * test_fraction), 1), num_samples - 1)
    order = np.random.default_rng(seed).permutation(num_samples)
    return np.sort(order[num_test:]), np.sort(order[:num_test])
