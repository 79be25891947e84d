"""The user's own data in one file: a table of columns, or arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pn_gpu.checks import check_integer, check_number
from pn_gpu.data.arrays import Array
from pn_gpu.data.cells import as_numbers, check_cells
from pn_gpu.data.columns import Table
from pn_gpu.data.containers import TableOptions, read_container
from pn_gpu.data.content import stem
from pn_gpu.data.dataset import Dataset
from pn_gpu.data.prepare import Part, Wishes, check_same_samples, prepare_parts, prepare_split
from pn_gpu.data.preprocessing import Preprocessing


def load_table(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    task: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    header: bool | None = None,
    decimal: str | None = None,
    drop: Sequence[str | int] = (),
    scale: str = "auto",
    missing: str = "mean",
    preprocessing: Preprocessing | None = None,
) -> Dataset:
    """A data set from a table (.csv, .tsv, .txt, .parquet) or from arrays (.npz), each plain or gzipped.

    A table has a sample in every row; one column is the target, all others are inputs: numbers, or words, which become
    a column of 0 and 1 for every category. Separators, decimal commas, a header, an encoding other than UTF-8 and
    a nameless first column of row names (which is left out) are found out. Files of anything but plain numbers take
    pandas (``pip install 'pn-gpu[tables]'``), Parquet files pyarrow too. Dates are refused.

    A .npz file holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or ``x`` and ``y``, which are split
    here: inputs [B, ...] and labels [B] (numbers or words), one-hot rows [B, K] or targets [B, K].

    Parameters
    ----------
    path : path
    target : str or int, optional
        Column with the label or target: a name in the header or a number counted from 0 (negative: from the end). The
        last one by default. Rows in which it is missing are left out.
    task : {"classification", "regression"}, optional
        By default classification for words, one-hot rows, and whole numbers of at most 20 different values (of up to
        100 if they are 0..K-1 and each is frequent), else regression.
    test_fraction : float, default 0.2
        Share of the samples that becomes the test part, 0 < test_fraction < 1; at least one sample.
    seed : int, default 0
        Of the random split.
    header : bool, optional
        Whether the first line of a text file names the columns. By default that is told by what stands below it.
    decimal : {".", ","}, optional
        Of the numbers in a text file. By default found out.
    drop : sequence of str or int, default ()
        Columns to leave out, by name or number.
    scale : {"auto", "standard", "none"}, default "auto"
        auto: unsigned bytes in arrays are pixels and divided by 255; all other inputs, and the targets of a regression,
        get the mean 0 and the deviation 1 of the training part, as with standard. none: all stay as they are.
    missing : {"mean", "drop", "refuse"}, default "mean"
        What becomes of missing inputs (an empty cell, NA, N/A, NaN, null, none, ? or -): replaced by the mean of their
        column, and in a column of words by no category at all; rows that have one left out; or an error.
    preprocessing : Preprocessing, optional
        Of a trained network: do to these data what was done in its training, whatever ``task``, ``scale`` and
        ``missing`` say.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If the file takes pandas or pyarrow, and that is missing.
    TypeError, ValueError
        If an option or the file is wrong; the message names the key, or the line and the column.
    """
    path = Path(path)
    check_number("test_fraction", test_fraction, low=0, high=1, low_open=True, high_open=True)
    check_integer("seed", seed, low=0)
    wishes = Wishes(task, scale, missing, preprocessing)
    keys = ("x_train", "y_train", "x_test", "y_test"), ("x", "y")
    content = read_container(path, TableOptions(header, decimal, tuple(drop)), *keys)
    if isinstance(content, Table):
        part, column = split_off_target(content, target, preprocessing)
        return prepare_split(stem(path), part, wishes, test_fraction, seed, column)
    if target is not None:
        raise ValueError(f"target: got {target!r} for {path}, want it for a table only")
    parts = [_part(path, content, end) for end in (("_train", "_test") if "x_train" in content else ("",))]
    if len(parts) == 1:
        return prepare_split(stem(path), parts[0], wishes, test_fraction, seed)
    train, test = parts
    check_same_samples(train, test)
    return prepare_parts(stem(path), train, test, wishes)


def split_off_target(
    table: Table, target: str | int | None, preprocessing: Preprocessing | None
) -> tuple[Part, str | int]:
    """A table as inputs and targets, and the name or number of the column that holds the targets."""
    if table.width < 2:
        raise ValueError(f"{table.path}: got one column, want at least one input and the target")
    if target is None:
        trained = None if preprocessing is None else preprocessing.target_column
        target = table.width - 1 if trained is None else trained
    index = table.find(target)
    column = index if table.names is None else table.names[index]
    name = f"{table.path}: {table.column_label(index)}"
    if preprocessing is None:
        table = check_cells(table, index)
    return Part(str(table.path), table.without([index]), name, as_numbers(table, index)), column


def _part(path: Path, arrays: dict[str, Array], end: str) -> Part:
    return Part(f"{path}: x{end}", arrays[f"x{end}"], f"{path}: y{end}", arrays[f"y{end}"])
