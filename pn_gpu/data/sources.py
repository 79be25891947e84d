"""A data set by its name or path."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pn_gpu.data.arrays import Array, as_inputs
from pn_gpu.data.csv_file import read_csv_inputs
from pn_gpu.data.dataset import Dataset
from pn_gpu.data.digits import load_digits
from pn_gpu.data.idx import load_idx, read_idx
from pn_gpu.data.mnist import load_mnist
from pn_gpu.data.npz_file import read_npz
from pn_gpu.data.table import check_is_file, load_table

NAMED: dict[str, Callable[..., Dataset]] = {"digits": load_digits, "mnist": load_mnist}


def load(source: str | os.PathLike[str], **options: Any) -> Dataset:
    """A data set by its name or path.

    Parameters
    ----------
    source : str or path
        "digits" (embedded), "mnist" (downloaded once into a cache folder), a folder with IDX files, or a .npz
        or .csv file. A name comes before a folder of the same name; write ``./mnist`` for the folder.
    **options
        Of the loader in charge: `load_digits` and `load_idx` have none, `load_mnist` has ``folder`` and
        ``progress``, `load_table` has ``target``, ``task``, ``test_fraction``, ``seed`` and ``header``.

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
    if not path.exists():
        names = ", ".join(repr(name) for name in NAMED)
        raise FileNotFoundError(f"{path}: no such file or folder, want {names}, a folder, or a .npz or .csv file")
    return (load_idx if path.is_dir() else load_table), [path]


def load_inputs(path: str | os.PathLike[str], header: bool | None = None) -> Array:
    """Inputs without targets, for prediction, as float32 [B, N].

    Parameters
    ----------
    path : path
        A .csv file whose columns are all inputs, a .npz file with the key ``x`` (or ``x_test``), a .npy file,
        or an IDX file. Unsigned bytes are taken for pixels and divided by 255.
    header : bool, optional
        As in `load_table`, for a .csv file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If the file is damaged or holds anything but finite numbers.
    """
    path = Path(path)
    check_is_file(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        values = read_csv_inputs(path, header)
    elif suffix == ".npz":
        ((_, values),) = read_npz(path, ("x",), ("x_test",)).items()
    elif suffix == ".npy":
        values = _read_npy(path)
    else:
        values = read_idx(path)
    return as_inputs(str(path), values)


def _read_npy(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a .npy file of numbers, or one cut short ({error})") from None
