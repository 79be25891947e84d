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

import numpy as np

from pn_gpu.data.arrays import Array, as_inputs, as_labels, check_same_length, image_shape
from pn_gpu.data.dataset import Dataset

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
    content = _decompressed(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise ValueError(f"{path}: got the first bytes {content[:4].hex(' ') or '(none)'}, want an IDX file")
    dtype, num_dims = np.dtype(DTYPES[content[2]]), content[3]
    start = 4 + 4 * num_dims
    if len(content) < start:
        raise ValueError(f"{path}: got {len(content)} bytes, want {start} for the header of {num_dims} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", num_dims, offset=4))
    want = start + math.prod(shape) * dtype.itemsize
    if len(content) != want:
        raise ValueError(f"{path}: got {len(content)} bytes, want {want} for shape {shape} of {dtype.name}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def load_idx(folder: str | os.PathLike[str]) -> Dataset:
    """A folder with the four IDX files of MNIST or of a relative (Fashion-MNIST, KMNIST, EMNIST ...).

    Parameters
    ----------
    folder : path
        It holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same two with ``t10k`` (or
        ``test``), each plain or ``.gz``; a dot may stand in place of a hyphen, and a prefix such as
        ``emnist-digits-`` may go before.

    Returns
    -------
    Dataset
        Unsigned bytes are divided by 255, other numbers are kept. ``num_classes`` is the largest label + 1.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or one of the four files is missing.
    ValueError
        If a file is damaged, or the files do not fit each other.
    """
    folder = Path(folder)
    files = _find_files(folder)
    x, y, shapes = {}, {}, {}
    for part in ("train", "test"):
        images_path, labels_path = files[part, "images"], files[part, "labels"]
        images, labels = read_idx(images_path), read_idx(labels_path)
        check_same_length(str(images_path), images, str(labels_path), labels)
        x[part], y[part] = as_inputs(str(images_path), images), as_labels(str(labels_path), labels)
        shapes[part] = images.shape[1:]
    if shapes["train"] != shapes["test"]:
        raise ValueError(
            f"{files['test', 'images']}: got samples of shape {shapes['test']}, "
            f"want {shapes['train']} as in {files['train', 'images'].name}"
        )
    num_classes = int(max(y["train"].max(), y["test"].max())) + 1
    return Dataset(
        folder.resolve().name, x["train"], y["train"], x["test"], y["test"], num_classes, image_shape(images)
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


def _decompressed(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzip by its first bytes, whatever its name."""
    if path.is_dir():
        raise ValueError(f"{path}: got a folder, want an IDX file")
    content = path.read_bytes()
    return gunzip(str(path), content) if content[:2] == b"\x1f\x8b" else content


def gunzip(name: str, content: bytes) -> bytes:
    """``content`` unpacked; a ValueError with ``name`` if it is cut short or damaged."""
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{name}: truncated or damaged gzip file ({error})") from None
