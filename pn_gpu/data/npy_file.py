"""Arrays from .npy and .npz files, never from a pickle."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.content import damage_named

# By the version of the format. Version 3.0 is for the names of fields, which plain arrays have none of.
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: Path | str, file: IO[bytes], size: int | None = None) -> Array:
    """The array of a .npy file.

    Parameters
    ----------
    path : path or str
        What to call it in a message.
    file : binary file
    size : int, optional
        Bytes of the whole, against which the header is checked before anything is allocated; default: found by seeking.

    Raises
    ------
    ValueError
        If the file is damaged, or holds Python objects.
    """
    with damage_named(path, ".npy file"):
        if size is None:
            size = file.seek(0, 2)
            file.seek(0)
        version = np.lib.format.read_magic(file)
        if version not in _HEADER_READERS:
            raise ValueError(f"{path}: got a .npy file of version {version[0]}.{version[1]}, want 1.0 or 2.0")
        shape, _, dtype = _HEADER_READERS[version](file)
        if dtype.hasobject:
            raise ValueError(f"{path}: it holds Python objects, want numbers")
        claimed = math.prod(shape) * dtype.itemsize
        if claimed > size or min(shape, default=0) < 0:
            raise ValueError(f"{path}: got {size} bytes, want more than {claimed} for shape {shape} of {dtype.name}")
        file.seek(0)
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array


def read_npz(path: Path, file: IO[bytes], *key_sets: tuple[str, ...]) -> dict[str, Array]:
    """The arrays of the first set of keys that a .npz file holds in full.

    Raises
    ------
    ValueError
        If the file is no .npz file or damaged, holds none of the sets, or an array of Python objects.
    """
    with damage_named(path, ".npz file"), zipfile.ZipFile(file) as archive:
        sizes = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        for keys in key_sets:
            if set(keys) <= set(sizes):
                return {key: _read_member(path, archive, key, sizes[key]) for key in keys}
        wanted = " or ".join("(" + ", ".join(keys) + ")" for keys in key_sets)
        raise ValueError(f"{path}: got the arrays {', '.join(sizes) or '(none)'}, want {wanted}")


def _read_member(path: Path, archive: zipfile.ZipFile, key: str, info: zipfile.ZipInfo) -> Array:
    label = f"{path}: {key}"
    with damage_named(label, "array"), archive.open(info) as file:
        array = read_npy(label, file, info.file_size)
        file.read()  # to the end, where the checksum is compared
        return array
