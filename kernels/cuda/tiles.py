"""How the kernels of forward.cu and backward.cu are cut into blocks: plain numbers, no device needed.

The tile sizes are those of the .cu files and must be changed with them.
"""

from __future__ import annotations

from typing import NamedTuple

from pn_gpu.kernels.integers import ceil_div

# 1 <= extent <= LIMIT: indices of rows and particles are 32-bit in the kernels, rounded up to whole chunks of tiles.
LIMIT = 2**31 - 2**20
# CUDA's own limit of the first grid axis.
MAX_BLOCKS = 2**31 - 1
# Bounds the workspace of a split sum, whatever the sizes.
MAX_SPLITS = 64
MAX_SLABS = 32


class ForwardTile(NamedTuple):
    """The tile of z that one block of forward_<rows> makes."""

    rows: int
    outputs: int
    depth: int
    threads: int
    resident: int  # blocks per multiprocessor, about

    @property
    def kernel(self) -> str:
        return f"forward_{self.rows}"


class GradientTile(NamedTuple):
    """The tile of G that one block of particle_gradient makes."""

    inputs: int
    outputs: int
    threads: int
    resident: int


_TENSOR_CORE_TILES = (
    ForwardTile(16, 128, 32, 128, 4),
    ForwardTile(64, 128, 32, 128, 3),
    ForwardTile(128, 128, 32, 128, 2),
)
FORWARD_TILES = {
    "float16": _TENSOR_CORE_TILES,
    "bfloat16": _TENSOR_CORE_TILES,
    "float32": (
        ForwardTile(4, 256, 32, 128, 4),
        ForwardTile(16, 256, 32, 128, 4),
        ForwardTile(64, 128, 16, 256, 2),
        ForwardTile(128, 128, 16, 256, 2),
    ),
    "float64": (
        ForwardTile(4, 256, 32, 128, 4),
        ForwardTile(16, 256, 32, 128, 2),
        ForwardTile(64, 64, 16, 256, 2),
    ),
}
GRADIENT_TILES = {
    "float16": GradientTile(128, 64, 128, 3),
    "bfloat16": GradientTile(128, 64, 128, 3),
    "float32": GradientTile(128, 64, 256, 2),
    "float64": GradientTile(64, 64, 256, 2),
}
# What making a weight costs, in rows of x that it is then multiplied by.
_WEIGHT_COST = {"float16": 64, "bfloat16": 64, "float32": 16, "float64": 32}


class ForwardPlan(NamedTuple):
    """The grid of a forward kernel; where ``splits`` > 1 its parts are to be added."""

    tile: ForwardTile
    blocks: int
    splits: int


class GradientPlan(NamedTuple):
    """The grid of particle_gradient for one set: chunks of ``tiles_down`` x ``tiles_across`` tiles of G."""

    tile: GradientTile
    tiles_down: int
    tiles_across: int
    chunks_down: int
    chunks_across: int

    @property
    def blocks(self) -> int:
        return self.chunks_down * self.chunks_across


def plan_forward(dtype: str, batch: int, inputs: int, outputs: int, multiprocessors: int, sets: int = 1) -> ForwardPlan:
    """The forward kernel for x [sets, batch, inputs] and z [sets, batch, outputs], none of them 0 but ``inputs``."""

    def cost(tile: ForwardTile) -> int:
        return ceil_div(batch, tile.rows) * (tile.rows + _WEIGHT_COST[dtype])

    tile = min(FORWARD_TILES[dtype], key=cost)
    blocks = sets * ceil_div(outputs, tile.outputs) * ceil_div(batch, tile.rows)
    wanted = multiprocessors * tile.resident // blocks
    # A part of fewer than four steps would spend its time on filling the pipeline.
    splits = max(1, min(wanted, ceil_div(inputs, tile.depth) // 4, MAX_SPLITS))
    return ForwardPlan(tile, blocks * splits, splits)


def plan_gradient(dtype: str, inputs: int, outputs: int, multiprocessors: int, sets: int = 1) -> GradientPlan:
    """The chunks of G [inputs, outputs], neither of them 0: about two waves of blocks of all sets, and few slabs."""
    tile = GRADIENT_TILES[dtype]
    down, across = ceil_div(inputs, tile.inputs), ceil_div(outputs, tile.outputs)
    wanted = ceil_div(2 * multiprocessors * tile.resident, sets)
    tiles_across = ceil_div(across, min(across, wanted, MAX_SLABS))
    chunks_across = ceil_div(across, tiles_across)
    tiles_down = ceil_div(down, min(down, ceil_div(wanted, chunks_across), MAX_SLABS))
    return GradientPlan(tile, tiles_down, tiles_across, ceil_div(down, tiles_down), chunks_across)


def plan_rows(batch: int) -> int:
    """Rows of dz that one thread of bias_gradient adds up, so that at most `MAX_SPLITS` parts remain."""
    return max(32, ceil_div(batch, MAX_SPLITS))


def plan_elements(elements: int) -> int:
    """Blocks of 256 threads for a kernel that strides over its elements."""
    return min(ceil_div(elements, 256), 4096)
