"""A data set by its name or path."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pn_gpu.data.arrays import Array, as_rows
from pn_gpu.data.cells import check_cells
from pn_gpu.data.columns import Table
from pn_gpu.data.containers import TableOptions, read_container
from pn_gpu.data.content import WANTED, is_pipe
from pn_gpu.data.dataset import Dataset
from pn_gpu.data.digits import load_digits
from pn_gpu.data.idx import load_idx
from pn_gpu.data.input_fitting import plain_coding
from pn_gpu.data.mnist import load_mnist
from pn_gpu.data.preprocessing import Preprocessing
from pn_gpu.data.table import load_table

NAMED: dict[str, Callable[..., Dataset]] = {"digits": load_digits, "mnist": load_mnist}


def load(source: str | os.PathLike[str], **options: Any) -> Dataset:
    """A data set by its name or path.

    Parameters
    ----------
    source : str or path
        "digits" (embedded), "mnist" (downloaded once into a cache folder), a folder with IDX files, or a table or
        .npz file. A name comes before a folder of the same name; write ``./mnist`` for the folder.
    **options
        Of the loader in charge: `load_digits`, `load_idx`, `load_mnist` or `load_table`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If there is nothing of that name.
    TypeError
        If the loader has no such option.
    ValueError
        If the data are not what the loader wants.
    DownloadError
        If "mnist" is not there and cannot be had.
    """
    loader, arguments = _find_loader(source)
    known = [name for name in inspect.signature(loader).parameters][len(arguments) :]
    for name in options:
        if name not in known:
            raise TypeError(f"{name}: no option of {loader.__name__}, want one of {', '.join(known) or '(none)'}")
    return loader(*arguments, **options)


def _find_loader(source: str | os.PathLike[str]) -> tuple[Callable[..., Dataset], list[Path]]:
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source: got {source!r} ({type(source).__name__}), want a name or a path")
    if isinstance(source, str) and source in NAMED:
        return NAMED[source], []
    path = Path(source)
    if not path.exists() and not is_pipe(path):
        names = ", ".join(repr(name) for name in NAMED)
        raise FileNotFoundError(f"{path}: no such file or folder, want {names}, a folder, or {WANTED}")
    return (load_idx if path.is_dir() else load_table), [path]


def load_inputs(
    path: str | os.PathLike[str],
    header: bool | None = None,
    decimal: str | None = None,
    drop: Sequence[str | int] = (),
    preprocessing: Preprocessing | None = None,
) -> Array:
    """Inputs without targets, for prediction, as a network takes them: float32 [B, N].

    Parameters
    ----------
    path : path
        A table, whose columns are all inputs, a .npz file with the key ``x`` (or ``x_test``), a .npy file, or an IDX
        file; each plain or gzipped, or a pipe ("-" is the standard input).
    header, decimal, drop
        As in `load_table`, for a table.
    preprocessing : Preprocessing, optional
        Of the network (``network.preprocessing``): do what was done in training. A table's columns are then found by
        their names, whatever others it has. By default unsigned bytes are taken for pixels and divided by 255, and
        other numbers stay as they are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If the file takes pandas or pyarrow, and that is missing.
    TypeError, ValueError
        If the file is damaged, or holds anything but what the network was trained on.
    """
    return read_inputs(path, TableOptions(header, decimal, tuple(drop)), preprocessing)[0]


def read_inputs(
    path: str | os.PathLike[str], options: TableOptions, preprocessing: Preprocessing | None
) -> tuple[Array, tuple[str, ...]]:
    """As `load_inputs`, and what was decided that the file does not say."""
    path = Path(path)
    content = read_container(path, options, ("x",), ("x_test",))
    if not isinstance(content, Table):
        ((key, values),) = content.items()
        name = f"{path}: {key}"
        width = as_rows(name, values).shape[1]
        coding = plain_coding(width) if preprocessing is None else preprocessing.inputs
        notes: list[str] = []
        return coding.encode(name, values, notes), tuple(notes)
    notes = list(content.notes)
    if preprocessing is None:
        return plain_coding(content.width).encode(str(path), check_cells(content), notes), tuple(notes)
    return preprocessing.inputs.encode(str(path), _without_target(content, preprocessing, notes), notes), tuple(notes)


def _without_target(table: Table, preprocessing: Preprocessing, notes: list[str]) -> Table:
    """Without the column of the target, where columns are taken in their order and it is there beside the inputs."""
    column, inputs = preprocessing.target_column, preprocessing.inputs
    by_name = inputs.names is not None and table.names is not None
    if column is None or by_name or table.width != inputs.width + 1:
        return table
    if isinstance(column, str) and column not in (table.names or ()):
        return table
    index = table.find(column)
    notes.append(f"{table.column_label(index)}, the target in training, is left out")
    return table.without([index])
