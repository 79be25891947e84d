"""Memory of a network by formula: what training and inference take, a file, and an exchange of gradients.

Counts are those of Eq. 5 (particles) and Eq. 6 (dense) of the paper. The workspace is that of the NumPy kernels (the
direct method) and of this library's training loop; on a GPU the tiles live in registers and shared memory instead.
What a layer takes grows with its nodes, N + M, for particles and with its weights, N M, for a dense layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pn_gpu.checks import check_choice, check_flag, check_integer
from pn_gpu.model.model import DTYPES, Model
from pn_gpu.model.shapes import Shapes, dense_shapes, particle_shapes
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.plain_values import pack
from pn_gpu.storage import METADATA_KEY, metadata_text
from pn_gpu.training.optimizers import SGD, Adagrad, Adam, Optimizer, RMSProp, Rprop
from pn_gpu.workspace import backward_elements, forward_elements, kept_elements

OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Adam(),
    "rmsprop": RMSProp(),
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "adagrad": Adagrad(),
    "rprop": Rprop(),
}

# Arrays as long as the parameter vector that one update makes and drops, at most at a time.
UPDATE_TEMPORARIES: dict[type[Optimizer], float] = {Adam: 3, RMSProp: 3, SGD: 1, Adagrad: 3, Rprop: 5.25}


@dataclass(frozen=True)
class Footprint:
    """Bytes, but for the number of parameters.

    Attributes
    ----------
    num_parameters : int
    parameters, gradient, optimizer_state : int
    rollback : int
        The copy of the parameters that training returns to if the loss becomes infinite.
    activations : int
        What the forward pass keeps for the backward pass: z and y of every layer.
    batch : int
        Inputs and targets of a batch.
    inference_workspace, backward_workspace, update_workspace : int
        What the largest layer's forward and backward pass and the optimiser's update need meanwhile.
    kept_scratch : int
        Tiles that the threads keep from step to step in training.
    file : int
        Bytes on disk, header included.
    fixed : int
        Positions that are held and not trained, and what interpolates a field of dipoles between places.
    """

    num_parameters: int
    parameters: int
    gradient: int
    optimizer_state: int
    rollback: int
    activations: int
    batch: int
    inference_workspace: int
    backward_workspace: int
    update_workspace: int
    kept_scratch: int
    file: int
    fixed: int

    @property
    def training_workspace(self) -> int:
        """The kept tiles, and the backward pass's or what goes beyond the activations: update, or next batch."""
        passing = max(self.backward_workspace, self.update_workspace - self.activations, self.batch - self.activations)
        return self.kept_scratch + passing

    @property
    def training_peak(self) -> int:
        """The most that training takes at a time, the data set itself not counted."""
        kept = self.parameters + self.fixed + self.gradient + self.optimizer_state + self.rollback + self.batch
        return kept + self.activations + self.training_workspace

    @property
    def inference_peak(self) -> int:
        """The most that predicting one batch takes at a time, its inputs not counted."""
        return self.parameters + self.fixed + self.activations + self.inference_workspace

    @property
    def gradient_exchange(self) -> int:
        """What a process of data-parallel training sends at every step."""
        return self.gradient


def particle_footprint(
    sizes: Sequence[int],
    dim: int = 3,
    *,
    dipole_dim: int | None = None,
    model: str = "dipole",
    shared: bool = True,
    fixed_positions: bool = False,
    num_dipole_places: int | None = None,
    batch_size: int = 100,
    optimizer: str | Optimizer = "adam",
    dtype: str = "float32",
) -> Footprint:
    """Memory of a `ParticleNetwork`; nothing is allocated to find out.

    Parameters
    ----------
    sizes, dim, dipole_dim, model, shared, dtype
        As in `ParticleNetwork`.
    fixed_positions : bool, default False
        Whether the positions of the inputs are given (``positions=``) and so not trained.
    num_dipole_places : int, optional
        Between how many places the dipoles of such inputs are interpolated (``dipole_places=``), if they are.
    batch_size : int, default 100
    optimizer : {"adam", "rmsprop", "sgd", "momentum", "adagrad", "rprop"} or Optimizer, default "adam"

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, of the wrong type or an unknown name.
    """
    check_integer("dim", dim, low=1)
    check_flag("shared", shared)
    # A network of the same make with hardly a node at every level: its checks and its metadata are the real one's.
    places = None if num_dipole_places is None else check_integer("num_dipole_places", num_dipole_places, low=1)
    if places is not None and not fixed_positions:
        raise ValueError(f"num_dipole_places: got {places} without fixed_positions, want them beside given positions")
    levels = _fewest_nodes(_check(sizes, batch_size, dtype))
    small = ParticleNetwork(
        levels,
        dim,
        positions=np.zeros((levels[0], dim)) if check_flag("fixed_positions", fixed_positions) else None,
        dipole_places=None if places is None else np.zeros((1, dim)),
        dipole_dim=dipole_dim,
        model=model,
        shared=shared,
        backend="numpy",
        dtype=dtype,
        seed=0,
    )
    num_dipole = small.dipole_dim
    # Of a field: its dipoles at the nodes, made for every call.
    interpolated = [0 if places is None else sizes[0] * num_dipole, *(0 for _ in sizes[2:])]
    return _footprint(
        small,
        sizes,
        particle_shapes(sizes, dim, model, shared, dipole_dim, fixed_positions, places),
        batch_size,
        optimizer,
        forward=[
            forward_elements(*layer, dim, num_dipole) + more
            for layer, more in zip(pairwise(sizes), interpolated, strict=True)
        ],
        backward=[
            backward_elements(batch_size, *layer, dim, num_dipole) + more
            for layer, more in zip(pairwise(sizes), interpolated, strict=True)
        ],
        scratch=(
            kept_elements(sizes, batch_size, training=False),
            kept_elements(sizes, batch_size, training=True),
        ),
        given=_given_shapes(sizes[0], dim, fixed_positions, places),
        # The matrix of the interpolation.
        derived=0 if places is None else sizes[0] * places,
    )


def dense_footprint(
    sizes: Sequence[int],
    *,
    batch_size: int = 100,
    optimizer: str | Optimizer = "adam",
    dtype: str = "float32",
) -> Footprint:
    """Memory of a `DenseNetwork`; arguments as in `particle_footprint`."""
    small = DenseNetwork(_fewest_nodes(_check(sizes, batch_size, dtype)), backend="numpy", dtype=dtype, seed=0)
    return _footprint(
        small,
        sizes,
        dense_shapes(sizes),
        batch_size,
        optimizer,
        forward=[0 for _ in sizes[1:]],
        # The product x^T dz, before it is added to the gradient.
        backward=[n_in * n_out for n_in, n_out in pairwise(sizes)],
        scratch=(0, 0),
    )


def _fewest_nodes(sizes: Sequence[int]) -> list[int]:
    """A node at every level, and two outputs: a softmax has no fewer."""
    return [1] * (len(sizes) - 1) + [2]


def _check(sizes: Sequence[int], batch_size: int, dtype: str) -> Sequence[int]:
    if isinstance(sizes, str) or not isinstance(sizes, Sequence) or len(sizes) < 2:
        raise ValueError(f"sizes: got {sizes!r}, want at least two numbers of nodes, such as [784, 128, 10]")
    for index, size in enumerate(sizes):
        check_integer(f"sizes[{index}]", size, low=1)
    check_integer("batch_size", batch_size, low=1)
    check_choice("dtype", dtype, DTYPES)
    return sizes


def _footprint(
    small: Model,
    sizes: Sequence[int],
    shapes: Shapes,
    batch_size: int,
    optimizer: str | Optimizer,
    forward: Sequence[int],
    backward: Sequence[int],
    scratch: tuple[int, int],
    given: Shapes | None = None,
    derived: int = 0,
) -> Footprint:
    """Bytes from numbers of elements.

    ``forward`` and ``backward`` are what the operator takes, layer by layer; ``scratch`` is what its threads keep when
    they predict, and when they train; ``given`` is in a file beside the parameters, ``derived`` is made of that.
    """
    given = given or {}
    count = sum(map(math.prod, shapes.values()))
    width = np.dtype(small.dtype).itemsize
    chosen = get_optimizer(optimizer)
    state = len(chosen.start(small.parameters.flat))
    activations = 2 * batch_size * sum(sizes[1:])
    return Footprint(
        num_parameters=count,
        parameters=count * width,
        gradient=count * width,
        optimizer_state=state * count * width,
        rollback=count * width,
        activations=activations * width,
        batch=batch_size * (sizes[0] + sizes[-1]) * width,
        inference_workspace=_forward_workspace(sizes, batch_size, forward, scratch[0]) * width,
        backward_workspace=_backward_workspace(sizes, batch_size, backward) * width,
        update_workspace=int(UPDATE_TEMPORARIES.get(type(chosen), 3) * count) * width,
        kept_scratch=scratch[1] * width,
        file=_file_size(small, sizes, shapes | given, width),
        fixed=(sum(map(math.prod, given.values())) + derived) * width,
    )


def _forward_workspace(sizes: Sequence[int], batch: int, operator: Sequence[int], scratch: int) -> int:
    """What the forward pass takes beyond the activations of all layers: a wide first layer is done before the last."""
    peak, kept = batch * sizes[0] // 4, 0  # the inputs are checked first: a byte each
    for n_out, workspace in zip(sizes[1:], operator, strict=True):
        peak = max(peak, kept + batch * n_out + workspace + scratch)
        kept += 2 * batch * n_out
    return max(peak - kept, batch * sizes[-1] + scratch)


def _backward_workspace(sizes: Sequence[int], batch: int, operator: Sequence[int]) -> int:
    """The largest layer's: gradients of z, of its y (from the layer above), of its inputs, and the operator's."""
    last = len(sizes) - 2
    peaks = []
    for index, ((n_in, n_out), workspace) in enumerate(zip(pairwise(sizes), operator, strict=True)):
        gradients = n_out * (1 if index == last else 2) + (n_in if index else 0)
        peaks.append(batch * gradients + workspace)
    return max(peaks)


def get_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """An optimiser by its name, or itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    return OPTIMIZERS[check_choice("optimizer", optimizer, OPTIMIZERS)]


def _given_shapes(num_inputs: int, dim: int, fixed_positions: bool, num_dipole_places: int | None) -> Shapes:
    """What a file has beside the parameters, under the names it has there."""
    shapes: Shapes = {"architecture.positions": (num_inputs, dim)} if fixed_positions else {}
    if num_dipole_places is not None:
        shapes["architecture.dipole_places"] = (num_dipole_places, dim)
    return shapes


def _file_size(small: Model, sizes: Sequence[int], shapes: Shapes, width: int) -> int:
    """A safetensors file: 8 bytes, a JSON header filled up to a multiple of 8 bytes, and the numbers."""
    metadata = small.metadata()
    metadata["architecture"] = pack(metadata["architecture"], "architecture", {}) | {"sizes": list(sizes)}
    header: dict[str, Any] = {"__metadata__": {METADATA_KEY: metadata_text(metadata)}}
    offset = 0
    for name in sorted(shapes):
        size = math.prod(shapes[name]) * width
        header[name] = {"dtype": f"F{8 * width}", "shape": list(shapes[name]), "data_offsets": [offset, offset + size]}
        offset += size
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + offset
