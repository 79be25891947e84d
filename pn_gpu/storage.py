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
from safetensors.numpy import save_file

from pn_gpu.files import replacing

METADATA_KEY = "pn_gpu"
FORMAT_VERSION = 1

Path_ = str | os.PathLike[str]


def write_file(path: Path_, tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, Any]) -> None:
    """Write named arrays and JSON-able metadata to ``path``: whole or not at all.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    with replacing(path) as temporary:
        save_file(dict(tensors), temporary, {METADATA_KEY: metadata_text(metadata)})


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
            metadata = _parse_metadata(path, file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: no readable safetensors file, truncated or of another kind ({error})") from error


def _parse_metadata(path: Path_, metadata: Mapping[str, str]) -> dict[str, Any]:
    if METADATA_KEY not in metadata:
        raise ValueError(f"{path}: a safetensors file without a pn_gpu network; want one that net.save wrote")
    try:
        parsed = json.loads(metadata[METADATA_KEY])
        version = int(parsed["format_version"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its metadata cannot be read ({error})") from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path}: written in format version {version} by a newer pn_gpu; this one reads up to {FORMAT_VERSION}"
        )
    return parsed
