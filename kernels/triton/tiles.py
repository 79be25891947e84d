"""Tile sizes as data, by architecture, arithmetic and batch.

Chosen by compiling the candidates and counting registers, spills and instructions per weight, not by timing.
A tile of the product is [BO, BB] of z^T over BK inputs, one of the gradients [BI, BJ] of G over BK rows.
"""

from __future__ import annotations

from typing import NamedTuple

# How the products are computed: on 16-bit tensor cores, on the same with operands in two halves, on TF32 tensor
# cores, or by float32 and float64 multiply-adds.
ARITHMETICS = ("16-bit", "halves", "tf32", "float32", "float64")
# Up to this many components (n + d) are the common case, n and d of 2 or 3; more of them take more registers.
FEW_COMPONENTS = 6


class ProductTile(NamedTuple):
    """Launch of `forward.product_kernel`."""

    BO: int
    BB: int
    BK: int
    num_warps: int
    num_stages: int


class GradientTile(NamedTuple):
    """Launch of `moments.moment_kernel` or `differences.difference_kernel`."""

    BI: int
    BJ: int
    BK: int
    num_warps: int
    num_stages: int


# By rising BB: the first that holds the batch serves it, the last serves any.
PRODUCT_TILES: dict[str, dict[str, tuple[ProductTile, ...]]] = {
    "hopper": {
        "16-bit": (
            ProductTile(128, 16, 64, 4, 3),
            ProductTile(128, 32, 64, 4, 3),
            ProductTile(128, 64, 64, 4, 3),
            ProductTile(128, 128, 32, 4, 4),
            ProductTile(128, 256, 64, 8, 3),
        ),
        "halves": (ProductTile(128, 16, 32, 4, 3), ProductTile(128, 64, 32, 4, 3), ProductTile(128, 128, 32, 4, 3)),
        "tf32": (ProductTile(128, 16, 32, 4, 3), ProductTile(128, 64, 32, 4, 3), ProductTile(128, 128, 32, 4, 3)),
        "float32": (ProductTile(64, 16, 32, 4, 3), ProductTile(64, 64, 32, 4, 3)),
        "float64": (ProductTile(32, 32, 16, 4, 3),),
    },
    # mma.sync spreads its warps over both sides of a tile unless it is four times as high as wide; each weight would
    # be made twice.
    "ampere": {
        "16-bit": (ProductTile(128, 16, 64, 4, 3), ProductTile(128, 32, 64, 4, 3), ProductTile(256, 64, 16, 4, 3)),
        "halves": (ProductTile(128, 16, 32, 4, 3), ProductTile(128, 32, 32, 4, 3)),
        "tf32": (ProductTile(128, 16, 32, 4, 3), ProductTile(128, 32, 32, 4, 3)),
        "float32": (ProductTile(64, 16, 32, 4, 3), ProductTile(64, 64, 32, 4, 3)),
        "float64": (ProductTile(32, 32, 16, 4, 3),),
    },
}
PRODUCT_TILES["blackwell"] = PRODUCT_TILES["hopper"]
PRODUCT_TILES["consumer blackwell"] = PRODUCT_TILES["ampere"]
MANY_COMPONENTS_PRODUCT_TILES: dict[str, dict[str, tuple[ProductTile, ...]]] = {}


def product_tile(family: str, arithmetic: str, batch: int, components: int) -> ProductTile:
    """The tile of the product for ``batch`` rows and particles of ``components`` = n + d numbers."""
    choices = PRODUCT_TILES[family][arithmetic]
    if components > FEW_COMPONENTS:
        choices = MANY_COMPONENTS_PRODUCT_TILES.get(family, {}).get(arithmetic, choices)
    return next((tile for tile in choices if tile.BB >= batch), choices[-1])


def gradient_tile(family: str, arithmetic: str, reduction: str, width: int, split_tile: bool = False) -> GradientTile:
    """The tile of the particle gradient for a ``reduction`` of "merged moments", "moments" or "differences"."""
    if reduction == "differences":
        return GradientTile(32, 32, 16, 4, 2) if arithmetic == "float64" else GradientTile(64, 64, 16, 4, 3)
    if arithmetic == "16-bit" and reduction == "merged moments":
        return GradientTile(128, 128, 64 if width <= 16 else 32, 8, 3)
    return GradientTile(128, 64, 32, 8, 3)


def family_of(capability: int) -> str:
    """The family of a device of compute capability ``capability`` (its major number)."""
    return {8: "ampere", 9: "hopper", 10: "blackwell", 12: "consumer blackwell"}.get(capability, "ampere")
