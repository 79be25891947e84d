"""What the operator takes beside its arguments and results: NumPy's direct kernels by the sizes of their tiles, in
elements, and the Mehler method by its blocks, in bytes.

Positions within 8 of their centre are taken for granted; in float32 wider ones take a tile of float64 a thread more.
Bytes, and what training and inference take around the operator, are in `pn_gpu.footprint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pn_gpu.kernels.host.threads import num_threads, share_sizes
from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.mehler.exact import NodeSet
from pn_gpu.kernels.mehler.expansion import Approximation
from pn_gpu.kernels.mehler.factor import FEATURE_BUDGET, KEPT_BYTES, Factor
from pn_gpu.kernels.numpy.tiles import BACKWARD_TILE, BATCH_TILE, FORWARD_TILE, layer_work

Array = Any


def forward_elements(n_in: int, n_out: int, dim: int, num_dipole: int) -> int:
    """What the forward of one layer takes: centred positions, two tables of squared distances, dipoles by columns."""
    return (n_in + n_out) * (dim + dim + 2) + n_out * num_dipole


def backward_elements(batch: int, n_in: int, n_out: int, dim: int, num_dipole: int) -> int:
    """What the backward of one layer takes beside what the threads keep: tables, sums, and tiles of dz."""
    groups = share_sizes(n_in, BACKWARD_TILE[0], layer_work(batch, n_in, n_out))[1]
    width, rows = min(n_out, BACKWARD_TILE[1]), min(batch, BATCH_TILE)
    copied = rows * n_out if n_out > width else 0  # dz by tiles; a single tile is dz itself
    moments = num_dipole * (dim + 1)
    sums = 2 * (n_in + n_out) * moments + (groups - 1) * n_out * moments
    return sums + copied + forward_elements(n_in, n_out, dim, num_dipole)


def kept_elements(sizes: Sequence[int], batch: int, *, training: bool) -> int:
    """Tiles that the threads of a network keep from call to call: for every purpose, its largest (see `scratch`)."""
    largest: dict[str, int] = {}
    for n_in, n_out in pairwise(sizes):
        needs = [_forward_tiles(batch, n_in, n_out)]
        if training:
            needs.append(_backward_tiles(batch, n_in, n_out))
        for need in needs:
            largest = {name: max(largest.get(name, 0), need.get(name, 0)) for name in largest | need}
    return num_threads() * sum(largest.values())


def direct_elements(batch: int, n_in: int, n_out: int, dim: int, num_dipole: int) -> int:
    """What a training step of one layer takes by the direct method, its threads' tiles included."""
    kept = kept_elements((n_in, n_out), batch, training=True)
    return kept + backward_elements(batch, n_in, n_out, dim, num_dipole)


def mehler_bytes(approximation: Approximation, like: Array, num_in: int, num_out: int, dim: int, batch: int) -> int:
    """Bytes of the blocks in hand and of those that are kept, and of the sums over groups of them."""
    library = Library(like, like)
    axes = approximation.expansion.num_axes

    def factor(own: Any, others: Any, is_input: bool) -> Factor:
        left_out = NodeSet(library.zeros(len(others), axes), library.zeros(len(others), dim))
        nobody = library.zeros(0, axes), library.zeros(0, dim)
        return Factor(library, approximation.expansion, *nobody, own, left_out, is_input)

    left_out = approximation.left_out_in, approximation.left_out_out
    inputs, outputs = factor(*left_out, is_input=True), factor(*left_out[::-1], is_input=False)
    rows, values = max(inputs.num_rows, outputs.num_rows), max(inputs.values, outputs.values)
    groups = library.groups(max(num_in, num_out), rows, values, batch, FEATURE_BUDGET)
    block, at_once = groups[0][0], min(len(groups), num_threads() if library.is_numpy else 1)
    products = (2 + len(groups)) * rows * batch
    kept = inputs.kept_bytes(num_in), outputs.kept_bytes(num_out)
    in_hand = (at_once * (block.stop - block.start) * values + products) * library.itemsize
    return in_hand + sum(size for size in kept if size <= KEPT_BYTES)


def _forward_tiles(batch: int, n_in: int, n_out: int) -> dict[str, int]:
    """By purpose, the tiles that one thread's forward holds."""
    rows = min(batch, BATCH_TILE)
    width = share_sizes(n_out, FORWARD_TILE[1], layer_work(batch, n_in, n_out))[0]
    tile = min(n_in, FORWARD_TILE[0]) * width
    partial = rows * width if n_in > FORWARD_TILE[0] else 0  # a single tile is the total
    return {"weights": tile, "products": tile, "total": rows * width, "partial": partial}


def _backward_tiles(batch: int, n_in: int, n_out: int) -> dict[str, int]:
    """The same of the backward."""
    rows = min(batch, BATCH_TILE)
    height = share_sizes(n_in, BACKWARD_TILE[0], layer_work(batch, n_in, n_out))[0]
    tile = height * min(n_out, BACKWARD_TILE[1])
    tiles = dict.fromkeys(("values", "products", "spare"), tile)
    partial = rows * height if n_out > BACKWARD_TILE[1] else 0
    return tiles | {"inputs": rows * height, "total": rows * height, "partial": partial}
