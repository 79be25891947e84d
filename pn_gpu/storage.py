"""Safetensors files of named arrays, with a network's architecture as JSON in the metadata. Never pickle.

The metadata have one entry, whose text is sorted: safetensors writes several in a random order, and one network shall
make one file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pn_gpu.files import replacing
from pn_gpu.plain_values import as_stored_array, pack, unpack

METADATA_KEY = "pn_gpu"
FORMAT_VERSION = 1

Path_ = str | os.PathLike[str]

# What a file can make Python say that holds anything but what this library wrote.
DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def write_file(path: Path_, tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write named arrays and metadata to ``path``: whole or not at all.

    Parameters
    ----------
    path : path
    tensors : mapping of name to array
        Of any library, order and byte order; of real numbers.
    metadata : mapping
        Numbers, strings, None, lists, mappings, and arrays, NumPy's scalars among them; see `pn_gpu.plain_values`.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    OSError
        If it cannot be written, as on a full disk; the error names ``path``.
    TypeError
        If something in it cannot be stored.
    """
    arrays = {name: as_stored_array(name, value) for name, value in tensors.items()}
    plain = {name: pack(value, name, arrays) for name, value in metadata.items()}
    content = save(arrays, {METADATA_KEY: metadata_text(plain)})
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """The one entry of a file's metadata."""
    return json.dumps({"format_version": FORMAT_VERSION} | dict(metadata), sort_keys=True)


def read_file(path: Path_) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """All arrays and the metadata of a file of this library's format.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, not of this library, or of a newer format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise ValueError("a safetensors file without a pn_gpu network; want one that net.save wrote")
            metadata = _parse_metadata(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return tensors, unpack(metadata, tensors)
    except SafetensorError as error:
        raise ValueError(f"{path}: no readable safetensors file, truncated or of another kind ({error})") from error
    except DAMAGE as error:  # NumPy has no name for some types of numbers, too
        raise ValueError(f"{path}: {error}") from error


def _parse_metadata(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
        version = int(parsed["format_version"])
    except DAMAGE as error:
        raise ValueError(f"its metadata cannot be read ({error})") from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"written in format version {version} by a newer pn_gpu; this one reads up to {FORMAT_VERSION}"
        )
    return parsed
