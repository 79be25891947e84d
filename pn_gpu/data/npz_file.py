"""Arrays from a .npz file, never from a pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from pn_gpu.data.arrays import Array


def read_npz(path: Path, *key_sets: tuple[str, ...]) -> dict[str, Array]:
    """The arrays of the first set of keys that the file holds in full.

    Raises
    ------
    ValueError
        If the file is no .npz file or damaged, holds none of the sets, or an array of Python objects.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a .npz file, or one cut short")
    with np.load(path, allow_pickle=False) as file:
        for keys in key_sets:
            if set(keys) <= set(file.files):
                return {key: _read_array(path, file, key) for key in keys}
        wanted = " or ".join("(" + ", ".join(keys) + ")" for keys in key_sets)
        raise ValueError(f"{path}: got the arrays {', '.join(file.files) or '(none)'}, want {wanted}")


def _read_array(path: Path, file: np.lib.npyio.NpzFile, key: str) -> Array:
    try:
        array = file[key]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        reason = "it holds Python objects, want numbers" if "allow_pickle" in str(error) else f"damaged ({error})"
        raise ValueError(f"{path}: {key}: {reason}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: {key}: not an array")
    return array
