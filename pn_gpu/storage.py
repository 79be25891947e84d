"""Networks as safetensors files: named arrays, with the architecture as JSON in the metadata. Never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pn_gpu.backends import Backend, to_numpy
from pn_gpu.files import replacing
from pn_gpu.model.dense_network import DenseNetwork
from pn_gpu.model.network import Network
from pn_gpu.model.particle_network import ParticleNetwork

FORMAT = "pn_gpu"
FORMAT_VERSION = 1

NETWORK_KINDS: dict[str, type[Network]] = {kind.kind: kind for kind in (ParticleNetwork, DenseNetwork)}

Path_ = str | os.PathLike[str]


def save_network(
    network: Network,
    path: Path_,
    extra_tensors: Mapping[str, np.ndarray[Any, Any]] | None = None,
    extra_metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network, and whatever else a checkpoint adds, to ``path``: whole or not at all."""
    tensors = {name: np.ascontiguousarray(to_numpy(value)) for name, value in network.parameters.items()}
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": network.kind,
        "dtype": network.dtype,
        "architecture": json.dumps(network.architecture()),
    }
    with replacing(path) as temporary:
        save_file(tensors | dict(extra_tensors or {}), temporary, metadata | dict(extra_metadata or {}))


def load(path: Path_, backend: str | Backend = "auto", dtype: str | None = None) -> Any:
    """Read a network that `Network.save` or a checkpoint wrote.

    Parameters
    ----------
    path : path of a safetensors file
    backend : str or Backend, default "auto"
        Where the network shall live; it need not be where it was saved from.
    dtype : {"float32", "float64"}, optional
        Default: that of the file.

    Returns
    -------
    ParticleNetwork or DenseNetwork

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, no network of this library, or of a newer format.
    """
    tensors, metadata = read_file(path)
    return build_network(path, tensors, metadata, backend, dtype)


def read_file(path: Path_) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """All arrays and the metadata of a file of this library's format; raises as `load`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: no readable safetensors file, truncated or of another kind ({error})") from error


def _check_format(path: Path_, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: a safetensors file without a pn_gpu network; want one that net.save wrote")
    version = metadata.get("format_version", "")
    if not version.isdecimal():
        raise ValueError(f"{path}: got format version {version!r}, want a number")
    if int(version) > FORMAT_VERSION:
        raise ValueError(
            f"{path}: written in format version {version} by a newer pn_gpu; this one reads up to {FORMAT_VERSION}"
        )


def build_network(
    path: Path_,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    metadata: Mapping[str, str],
    backend: str | Backend,
    dtype: str | None,
) -> Network:
    """The network of a file's arrays and metadata."""
    kind = metadata.get("kind", "")
    if kind not in NETWORK_KINDS:
        raise ValueError(f"{path}: got a network of kind {kind!r}, want one of {', '.join(NETWORK_KINDS)}")
    try:
        architecture = json.loads(metadata["architecture"])
        network = NETWORK_KINDS[kind](
            **architecture, seed=0, backend=backend, dtype=metadata["dtype"] if dtype is None else dtype
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: the architecture in its metadata cannot be read ({error})") from error
    for name, value in network.parameters.items():
        if name not in tensors:
            raise ValueError(f"{path}: the parameter {name} is missing")
        if tensors[name].shape != tuple(value.shape):
            raise ValueError(
                f"{path}: {name} has shape {tensors[name].shape}, the architecture wants {tuple(value.shape)}"
            )
        network.parameters[name] = network.backend.asarray(tensors[name])
    return network
