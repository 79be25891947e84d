"""Networks from the files that `Network.save` and checkpoints write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pn_gpu.backends import Backend
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.network import Network
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.storage import Path_, read_file

if TYPE_CHECKING:
    from pn_gpu.data.preprocessing import Preprocessing

NETWORK_KINDS: dict[str, type[ParticleNetwork] | type[DenseNetwork]] = {
    kind.kind: kind for kind in (ParticleNetwork, DenseNetwork)
}


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
    return _build_network(path, tensors, metadata, backend, dtype)


def _build_network(
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
            **NETWORK_KINDS[kind].complete_architecture(metadata["architecture"]),
            seed=0,
            backend=backend,
            dtype=metadata["dtype"] if dtype is None else dtype,
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
    from pn_gpu.data.preprocessing import Preprocessing  # which few networks have

    try:
        preprocessing = Preprocessing.from_json(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    shape = preprocessing.inputs.num_features, preprocessing.targets.num_outputs
    if shape != (network.sizes[0], network.sizes[-1]):
        raise ValueError(f"{path}: its preprocessing has {shape} inputs and outputs, its network another number")
    return preprocessing
