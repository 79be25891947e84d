"""The IDX format of MNIST and its relatives: single files and whole folders, plain or gzipped.

A file is two zero bytes, a byte for the type of its numbers, a byte for the number of dimensions, each
dimension as a big-endian 32-bit integer, and the numbers themselves, big-endian, last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.content import damage_named, open_content
from pn_gpu.data.dataset import Dataset
from pn_gpu.data.prepare import Part, Wishes, check_same_samples, prepare_parts
from pn_gpu.data.preprocessing import Preprocessing

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

WANTED = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (each plain or .gz)"
)

_FILE_NAME = re.compile(r"(?:.*[-._])?(train|t10k|test)[-._](images|labels)[-._]idx\d+[-._]ubyte(?:\.gz)?")


def read_idx(path: str | os.PathLike[str]) -> Array:
    """One IDX file, gzipped or not, as an array in the machine's byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no IDX file, a damaged gzip file, or longer or shorter than its header says.
    """
    path = Path(path)
    with open_content(path, "idx") as (file, _):
        return read_idx_stream(path, file)


def read_idx_stream(path: Path, file: IO[bytes]) -> Array:
    """The array of an IDX file, from its unpacked content; raises as `read_idx`."""
    with damage_named(path, "IDX file"):
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in DTYPES:
            raise ValueError(f"{path}: got the first bytes {start.hex(' ') or '(none)'}, want an IDX file")
        dtype, num_dims = np.dtype(DTYPES[start[2]]), start[3]
        header = file.read(4 * num_dims)
        if len(header) < 4 * num_dims:
            raise ValueError(
                f"{path}: got {4 + len(header)} bytes, want {4 + 4 * num_dims} for the header of {num_dims} dimensions"
            )
        shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
        want = math.prod(shape) * dtype.itemsize
        # In pieces, and no more than the header says: neither it nor a small gzip file can ask for all the memory.
        content = bytearray()
        while len(content) <= want and (piece := file.read(min(1 << 24, want + 1 - len(content)))):
            content += piece
        if len(content) != want:
            got = "more" if len(content) > want else f"{len(content)} bytes of them"
            raise ValueError(f"{path}: got {got}, want {want} bytes of numbers for shape {shape} of {dtype.name}")
        return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def load_idx(
    folder: str | os.PathLike[str], *, scale: str = "auto", preprocessing: Preprocessing | None = None
) -> Dataset:
    """A folder with the four IDX files of MNIST or of a relative (Fashion-MNIST, KMNIST, EMNIST ...).

    Parameters
    ----------
    folder : path
        It holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same two with ``t10k`` (or
        ``test``), each plain or ``.gz``; a dot may stand in place of a hyphen, and a prefix such as
        ``emnist-digits-`` may go before.
    scale, preprocessing
        As in `load_table`: by default unsigned bytes are divided by 255, other numbers standardised.

    Returns
    -------
    Dataset
        Its classes are the labels that are there.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or one of the four files is missing.
    ValueError
        If a file is damaged, or the files do not fit each other.
    """
    folder = Path(folder)
    files = _find_files(folder)
    parts = []
    for part in ("train", "test"):
        images, labels = files[part, "images"], files[part, "labels"]
        parts.append(Part(str(images), read_idx(images), str(labels), read_idx(labels)))
    train, test = parts
    check_same_samples(train, test)
    return prepare_parts(
        folder.resolve().name, train, test, Wishes("classification", scale, preprocessing=preprocessing)
    )


def _find_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The file of each (part, kind): part "train" or "test", kind "images" or "labels"."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise ValueError(f"{folder}: got a file, want a folder with {WANTED}")
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        match = _FILE_NAME.fullmatch(path.name.lower())
        if match is None or not path.is_file():
            continue
        role = ("train" if match[1] == "train" else "test", match[2])
        other = found.setdefault(role, path)
        # "name" sorts before "name.gz", so the plain one of a pair stays; any other pair is two data sets.
        if path is not other and path.name != f"{other.name}.gz":
            raise ValueError(f"{folder}: got both {other.name} and {path.name}, want one file for each part")
    missing = [
        f"{part} {kind}" for part in ("train", "test") for kind in ("images", "labels") if (part, kind) not in found
    ]
    if missing:
        what = "no IDX files" if len(missing) == 4 else f"no IDX file with the {' or the '.join(missing)}"
        raise FileNotFoundError(f"{folder}: {what}, want {WANTED}")
    return found


def gunzip(name: str, content: bytes) -> bytes:
    """``content`` unpacked; a ValueError with ``name`` if it is cut short or damaged."""
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{name}: truncated or damaged gzip file ({error})") from None
