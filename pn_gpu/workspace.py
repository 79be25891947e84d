"""What the NumPy operator takes beside its arguments and results, in elements, by the sizes of its tiles.

Positions within 8 of their centre are taken for granted; in float32 wider ones take a tile of float64 a thread more.
Bytes, and what training and inference take around the operator, are in `pn_gpu.footprint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pn_gpu.kernels.host.threads import num_threads, share_out
from pn_gpu.kernels.numpy.tiles import BACKWARD_TILE, BATCH_TILE, FORWARD_TILE, layer_work


def forward_elements(n_in: int, n_out: int, dim: int, num_dipole: int) -> int:
    """What the forward of one layer takes: centred positions, two tables of squared distances, dipoles by columns."""
    return (n_in + n_out) * (dim + dim + 2) + n_out * num_dipole


def backward_elements(batch: int, n_in: int, n_out: int, dim: int, num_dipole: int) -> int:
    """What the backward of one layer takes beside what the threads keep: tables, sums, and tiles of dz."""
    groups = share_out(n_in, BACKWARD_TILE[0], layer_work(batch, n_in, n_out))
    width, rows = min(n_out, BACKWARD_TILE[1]), min(batch, BATCH_TILE)
    copied = rows * n_out if n_out > width else 0  # dz by tiles; a single tile is dz itself
    moments = num_dipole * (dim + 1)
    sums = 2 * (n_in + n_out) * moments + len(groups) * n_out * moments
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


def _forward_tiles(batch: int, n_in: int, n_out: int) -> dict[str, int]:
    """By purpose, the tiles that one thread's forward holds."""
    rows = min(batch, BATCH_TILE)
    width = _largest_tile(share_out(n_out, FORWARD_TILE[1], layer_work(batch, n_in, n_out)))
    tile = min(n_in, FORWARD_TILE[0]) * width
    return {"weights": tile, "products": tile, "total": rows * width, "partial": rows * width}


def _backward_tiles(batch: int, n_in: int, n_out: int) -> dict[str, int]:
    """The same of the backward."""
    rows = min(batch, BATCH_TILE)
    height = _largest_tile(share_out(n_in, BACKWARD_TILE[0], layer_work(batch, n_in, n_out)))
    tile = height * min(n_out, BACKWARD_TILE[1])
    tiles = dict.fromkeys(("values", "products", "spare"), tile)
    return tiles | dict.fromkeys(("inputs", "total", "partial"), rows * height)


def _largest_tile(groups: list[list[slice]]) -> int:
    return max(tile.stop - tile.start for group in groups for tile in group)
