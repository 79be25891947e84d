"""Small IDX files for tests, written from the description of the format."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as the content of an IDX file."""
    header = struct.pack(">BBBB", 0, 0, CODES[array.dtype.name], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Write an IDX file, gzipped if the name ends in .gz."""
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def mnist_like(num_train: int = 30, num_test: int = 10, side: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Four arrays under the names of MNIST's files."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", num_train), ("t10k", num_test)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    return arrays


def write_mnist_like(
    folder: Path, suffix: str = ".gz", separator: str = "-", num_train: int = 30, num_test: int = 10
) -> dict[str, np.ndarray]:
    """A folder of four files; a dot as ``separator`` stands before "idx"."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = mnist_like(num_train, num_test)
    for name, array in arrays.items():
        write_idx(folder / (name.replace("-idx", f"{separator}idx") + suffix), array)
    return arrays
