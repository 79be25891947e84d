"""How the tiles of a gradient are dealt out to programs."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pn_gpu.kernels.integers import ceil_div


class Chunks(NamedTuple):
    """How the tiles of both sides are dealt out to a grid of programs."""

    tiles_in: int  # of one chunk
    tiles_out: int
    chunks_in: int
    chunks_out: int


@lru_cache
def choose_chunks(
    tiles_in: int, tiles_out: int, programs: int, start: int = 0, numbers_in: int = 1, numbers_out: int = 1
) -> Chunks:
    """Chunks for at most ``programs`` programs: the longest has the fewest tiles, then the slabs are smallest.

    A row of tiles takes ``start`` halves of a tile more, and a tile ``numbers_in`` or ``numbers_out`` of the slabs.
    """
    best, best_cost = None, None
    for wanted_in in range(1, min(tiles_in, programs) + 1):
        per_in = ceil_div(tiles_in, wanted_in)
        chunks_in = ceil_div(tiles_in, per_in)
        per_out = ceil_div(tiles_out, min(tiles_out, max(1, programs // chunks_in)))
        chunks_out = ceil_div(tiles_out, per_out)
        slabs = chunks_out * tiles_in * numbers_in + chunks_in * tiles_out * numbers_out
        cost = (per_in * (2 * per_out + start), slabs)
        if best_cost is None or cost < best_cost:
            best, best_cost = Chunks(per_in, per_out, chunks_in, chunks_out), cost
    assert best is not None
    return best


class Parts(NamedTuple):
    """What the programs of a reduction own: chunks of tiles, and parts of the batch."""

    chunks: Chunks
    batch: int  # parts
    rows: int  # of a part

    @property
    def of_inputs(self) -> int:
        """Slabs in which an input particle is summed."""
        return self.chunks.chunks_out * self.batch

    @property
    def of_outputs(self) -> int:
        return self.chunks.chunks_in * self.batch
