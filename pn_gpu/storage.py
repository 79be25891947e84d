"""Networks as safetensors files: named arrays, with the architecture as JSON in the metadata. Never pickle.

The metadata have one entry, whose text is sorted: safetensors writes several in a random order, and one network shall
make one file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pn_gpu.backends import Backend, to_numpy
from pn_gpu.files import replacing
from pn_gpu.model.dense_network import DenseNetwork
from pn_gpu.model.network import Network
from pn_gpu.model.particle_network import ParticleNetwork

if TYPE_CHECKING:
    from pn_gpu.data.preprocessing import Preprocessing

METADATA_KEY = "pn_gpu"
FORMAT_VERSION = 1

NETWORK_KINDS: dict[str, type[ParticleNetwork] | type[DenseNetwork]] = {
    kind.kind: kind for kind in (ParticleNetwork, DenseNetwork)
}

Path_ = str | os.PathLike[str]


def save_network(
    network: Network,
    path: Path_,
    extra_tensors: Mapping[str, np.ndarray[Any, Any]] | None = None,
    extra_metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network, and whatever else a checkpoint adds, to ``path``: whole or not at all."""
    tensors = {name: np.ascontiguousarray(to_numpy(value)) for name, value in network.parameters.items()}
    metadata = network_metadata(network) | dict(extra_metadata or {})
    with replacing(path) as temporary:
        save_file(tensors | dict(extra_tensors or {}), temporary, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def network_metadata(network: Network) -> dict[str, Any]:
    """What a file says of a network beside its numbers."""
    metadata = {
        "format_version": FORMAT_VERSION,
        "kind": network.kind,
        "dtype": network.dtype,
        "architecture": network.architecture(),
    }
    return metadata if network.preprocessing is None else metadata | {"preprocessing": network.preprocessing.to_json()}


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


def read_file(path: Path_) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """All arrays and the metadata of a file of this library's format; raises as `load`."""
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


def build_network(
    path: Path_,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    metadata: Mapping[str, Any],
    backend: str | Backend,
    dtype: str | None,
) -> Network:
    """The network of a file's arrays and metadata."""
    kind = metadata.get("kind", "")
    if kind not in NETWORK_KINDS:
        raise ValueError(f"{path}: got a network of kind {kind!r}, want one of {', '.join(NETWORK_KINDS)}")
    try:
        network = NETWORK_KINDS[kind](
            **metadata["architecture"], seed=0, backend=backend, dtype=metadata["dtype"] if dtype is None else dtype
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: the architecture in its metadata cannot be read ({error})") from error
    for name, value in network.parameters.items():
        if name not in tensors:
            raise ValueError(f"{path}: the parameter {name} is missing")
        if tensors[name].shape != tuple(value.shape):
            raise ValueError(
                f"{path}: {name} has shape {tensors[name].shape}, the architecture wants {tuple(value.shape)}"
            )
        network.parameters[name] = network.backend.asarray(tensors[name])
    if "preprocessing" in metadata:
        network.preprocessing = _read_preprocessing(path, metadata["preprocessing"], network)
    return network


def _read_preprocessing(path: Path_, data: Any, network: Network) -> Preprocessing:
    from pn_gpu.data.preprocessing import Preprocessing

    try:
        preprocessing = Preprocessing.from_json(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    shape = preprocessing.inputs.num_features, preprocessing.targets.num_outputs
    if shape != (network.sizes[0], network.sizes[-1]):
        raise ValueError(f"{path}: its preprocessing has {shape} inputs and outputs, its network another number")
    return preprocessing
