"""Networks from the files that `Network.save` and checkpoints write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pn_gpu.backends import Backend, get_backend
from pn_gpu.checks import check_choice, check_flag, check_integer
from pn_gpu.model.model import DTYPES, check_sizes
from pn_gpu.model.shapes import Shapes, dense_shapes, particle_shapes
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.network import Network
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.storage import DAMAGE, Path_, read_file

if TYPE_CHECKING:
    from pn_gpu.data.preprocessing import Preprocessing

NETWORK_KINDS: dict[str, type[ParticleNetwork] | type[DenseNetwork]] = {
    kind.kind: kind for kind in (ParticleNetwork, DenseNetwork)
}


NETWORK_SHAPES: dict[str, Callable[[Mapping[str, Any]], Shapes]] = {
    "particle": lambda architecture: particle_shapes(
        check_sizes(architecture["sizes"]),
        check_integer("dim", architecture["dim"], low=1),
        architecture["model"],
        check_flag("shared", architecture["shared"]),
        architecture["dipole_dim"],
        fixed_positions="positions" in architecture,
        num_dipole_places=len(architecture["dipole_places"]) if "dipole_places" in architecture else None,
    ),
    "dense": lambda architecture: dense_shapes(check_sizes(architecture["sizes"])),
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
    place = get_backend(backend)
    if dtype is not None:
        check_choice("dtype", dtype, DTYPES)
    tensors, metadata = read_file(path)
    kind = metadata.get("kind", "")
    if not isinstance(kind, str) or kind not in NETWORK_KINDS:
        raise ValueError(f"{path}: got a network of kind {kind!r}, want one of {', '.join(NETWORK_KINDS)}")
    try:
        architecture = NETWORK_KINDS[kind].complete_architecture(metadata["architecture"])
        # Before anything is built, so that a small file cannot ask for a large network.
        _check_shapes(tensors, NETWORK_SHAPES[kind](architecture))
        network = NETWORK_KINDS[kind](
            **architecture, backend=place, dtype=metadata["dtype"] if dtype is None else dtype
        )
    except DAMAGE as error:
        reason = error if isinstance(error, ValueError) else f"the architecture cannot be read ({error})"
        raise ValueError(f"{path}: {reason}") from error
    for name in network.parameters:
        network.parameters[name] = network.backend.asarray(tensors[name])
    if "preprocessing" in metadata:
        network.preprocessing = _read_preprocessing(path, metadata["preprocessing"], network)
    return network


def _check_shapes(tensors: Mapping[str, np.ndarray[Any, Any]], shapes: Shapes) -> None:
    for name, shape in shapes.items():
        if name not in tensors:
            raise ValueError(f"the parameter {name} is missing")
        if tensors[name].shape != shape:
            raise ValueError(f"{name} has shape {tensors[name].shape}, the architecture wants {shape}")


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
