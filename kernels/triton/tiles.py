"""Tile sizes as data, by architecture, arithmetic and batch.

Chosen by compiling the candidates and counting registers, spills and instructions per weight, not by timing.
A tile of the product is [BO, BB] of z^T over BK inputs, one of the gradients [BI, BJ] of G over BK rows. How many
programs a multiprocessor holds is the least that the registers and shared memory of the compiled kernels allow, of all
that take the tile (`python -m bench compiled`).
"""

from __future__ import annotations

from typing import NamedTuple

# How the products are computed: on 16-bit tensor cores, on the same with operands in two halves, on TF32 tensor
# cores, or by float32 and float64 multiply-adds.
ARITHMETICS = ("16-bit", "halves", "tf32", "float32", "float64")
# Up to this many components (n + d) are the common case, n and d of 2 or 3; more of them take more registers.
FEW_COMPONENTS = 6
# Triton's products have no fewer rows.
LEAST_ROWS_OF_PRODUCT = 16


class ProductTile(NamedTuple):
    """Launch of `forward.product_kernel`, or with BB < `LEAST_ROWS_OF_PRODUCT` of `few_rows.few_rows_kernel`."""

    BO: int
    BB: int
    BK: int
    num_warps: int
    num_stages: int
    programs: int  # that a multiprocessor holds at once


class GradientTile(NamedTuple):
    """Launch of `moments.moment_kernel` or `differences.difference_kernel`."""

    BI: int
    BJ: int
    BK: int
    num_warps: int
    num_stages: int
    programs: int  # that a multiprocessor holds at once


class FusedTile(NamedTuple):
    """Launch of `fused.fused_backward_kernel`; a tile is [BI, BJ], the batch at most BB."""

    BI: int
    BJ: int
    BB: int
    num_warps: int
    num_stages: int
    programs: int  # that a multiprocessor holds at once


# By rising BB: the first that holds the batch serves it, the last serves any.
PRODUCT_TILES: dict[str, dict[str, tuple[ProductTile, ...]]] = {
    "hopper": {
        "16-bit": (
            ProductTile(128, 16, 64, 4, 3, 3),
            ProductTile(128, 32, 64, 4, 3, 3),
            ProductTile(128, 64, 64, 4, 3, 2),
            ProductTile(128, 128, 32, 4, 4, 2),
            ProductTile(128, 256, 32, 8, 3, 1),
        ),
        "halves": (
            ProductTile(128, 16, 32, 4, 3, 4),
            ProductTile(128, 64, 32, 4, 3, 2),
            ProductTile(128, 128, 32, 4, 3, 2),
        ),
        "tf32": (
            ProductTile(128, 16, 32, 4, 3, 4),
            ProductTile(128, 64, 32, 4, 3, 2),
            ProductTile(128, 128, 32, 4, 3, 2),
        ),
        "float32": (
            ProductTile(64, 4, 32, 4, 1, 2),
            ProductTile(64, 16, 32, 4, 3, 3),
            ProductTile(64, 64, 32, 4, 3, 2),
        ),
        "float64": (ProductTile(32, 4, 32, 4, 1, 2), ProductTile(32, 32, 16, 4, 3, 3)),
    },
    # mma.sync spreads its warps over both sides of a tile unless it is four times as high as wide; each weight would
    # be made twice.
    "ampere": {
        "16-bit": (
            ProductTile(128, 16, 64, 4, 3, 4),
            ProductTile(128, 32, 64, 4, 3, 4),
            ProductTile(256, 64, 16, 4, 3, 2),
        ),
        "halves": (ProductTile(128, 16, 32, 4, 3, 3), ProductTile(128, 32, 32, 4, 3, 2)),
        "tf32": (ProductTile(128, 16, 32, 4, 3, 4), ProductTile(128, 32, 32, 4, 3, 3)),
        "float32": (
            ProductTile(64, 4, 32, 4, 1, 2),
            ProductTile(64, 16, 32, 4, 3, 3),
            ProductTile(64, 64, 32, 4, 3, 2),
        ),
        "float64": (ProductTile(32, 4, 32, 4, 1, 2), ProductTile(32, 32, 16, 4, 3, 3)),
    },
}
# On Hopper 64 inputs a step would have the assembler serialise the products of the largest tile.
PRODUCT_TILES["blackwell"] = PRODUCT_TILES["hopper"] | {
    "16-bit": (*PRODUCT_TILES["hopper"]["16-bit"][:-1], ProductTile(128, 256, 64, 8, 3, 1)),
}
PRODUCT_TILES["consumer"] = PRODUCT_TILES["ampere"]

# The same where weights are made of factors, which takes 32 multiply-adds a weight of the tensor cores: little where
# they do 1024 a clock (8.0), 2048 (9.0) or 4096 (10.0), more than exact differences where they do 256 or 512
# ("consumer"). 8.0 and 9.0: forums.developer.nvidia.com, "How to calculate the Tensor Core FP16 performance of H100?"
# (2023), from the white papers. "consumer" by the vendor's peak rates for 16-bit numbers and float32 sums, as listed at
# hmc-tech.com and gigagpu.com: 80 TFLOP/s of 84 multiprocessors at 1.86 GHz (RTX 3090 Ti, 8.6) and 165 of 128 at 2.52
# GHz (RTX 4090, 8.9) are 256 a clock; with 16-bit sums, and on cards for workstations, twice that. 10.0 by 2250 TFLOP/s
# of 148 at 1.85 GHz (B200), which was not looked up; 12.0 is taken to be as 8.9.
FACTORED_PRODUCT_TILES: dict[str, tuple[ProductTile, ...]] = {
    "hopper": (
        ProductTile(128, 16, 64, 4, 3, 2),
        ProductTile(128, 32, 64, 4, 3, 2),
        ProductTile(128, 64, 64, 4, 3, 2),
        ProductTile(128, 128, 32, 4, 3, 2),
        ProductTile(128, 256, 64, 8, 3, 1),
    ),
    "ampere": (
        ProductTile(128, 16, 64, 4, 3, 3),
        ProductTile(128, 32, 64, 4, 3, 3),
        ProductTile(256, 64, 16, 4, 3, 2),
    ),
}
FACTORED_PRODUCT_TILES["blackwell"] = FACTORED_PRODUCT_TILES["hopper"]
# The largest BB with which a quarter of the exponentials is made by multiply-adds: it takes up to 1.8 instructions a
# weight more, and gains a tenth at least where a multiprocessor issues 128 instructions a clock and makes 16
# exponentials (8.0 does but 64 multiply-adds); with larger ones other units are the slowest: on 9.0 its products, which
# take 160 multiply-adds a weight with BB = 128.
LARGEST_BATCH_THAT_SHARES = {"hopper": 64, "blackwell": 128, "ampere": 16}

# The same for particles of more than FEW_COMPONENTS numbers.
MANY_COMPONENTS_PRODUCT_TILES: dict[str, dict[str, tuple[ProductTile, ...]]] = {
    "hopper": {
        "16-bit": (ProductTile(64, 16, 64, 4, 3, 4), ProductTile(64, 128, 32, 4, 3, 3)),
        "halves": (ProductTile(64, 16, 32, 4, 3, 2), ProductTile(64, 64, 32, 4, 3, 2)),
        "tf32": (ProductTile(64, 16, 32, 4, 3, 3), ProductTile(64, 64, 32, 4, 3, 3)),
        "float32": (
            ProductTile(64, 4, 16, 4, 1, 2),
            ProductTile(64, 16, 16, 4, 3, 2),
            ProductTile(64, 64, 16, 4, 3, 2),
        ),
        "float64": (ProductTile(32, 4, 16, 4, 1, 2), ProductTile(32, 32, 16, 4, 2, 2)),
    },
}
# With 32 inputs a step they spill 300 to 400 bytes there, a hundred times a step.
MANY_COMPONENTS_PRODUCT_TILES["blackwell"] = MANY_COMPONENTS_PRODUCT_TILES["hopper"] | {
    "halves": (ProductTile(64, 16, 16, 4, 3, 2), ProductTile(64, 64, 16, 4, 3, 2)),
}
MANY_COMPONENTS_PRODUCT_TILES["ampere"] = MANY_COMPONENTS_PRODUCT_TILES["hopper"] | {
    "16-bit": (ProductTile(64, 16, 64, 4, 3, 4), ProductTile(128, 32, 32, 4, 3, 2)),
    "halves": (ProductTile(64, 16, 32, 4, 3, 4), ProductTile(128, 32, 32, 4, 3, 2)),
    "tf32": (ProductTile(64, 16, 32, 4, 3, 4), ProductTile(128, 32, 32, 4, 3, 2)),
}
MANY_COMPONENTS_PRODUCT_TILES["consumer"] = MANY_COMPONENTS_PRODUCT_TILES["ampere"]

# By reduction. "merged": k' = -k, one matrix carries all gradients; "moments": two matrices; "rounded": their tiles
# enter the tensor cores as one bfloat16; "split": as two; "halves": x and dz come in halves too.
GRADIENT_TILES: dict[str, dict[str, GradientTile]] = {
    "hopper": {
        "merged rounded": GradientTile(128, 128, 32, 8, 3, 1),
        "merged split": GradientTile(128, 64, 32, 8, 3, 1),
        "merged halves": GradientTile(128, 64, 32, 8, 3, 1),
        "moments rounded": GradientTile(128, 64, 32, 8, 3, 1),
        "moments split": GradientTile(128, 64, 16, 8, 3, 1),
        "moments halves": GradientTile(64, 64, 32, 4, 2, 2),
    },
    "blackwell": {
        "merged rounded": GradientTile(128, 64, 32, 8, 3, 1),
        "merged split": GradientTile(128, 64, 32, 8, 3, 1),
        "merged halves": GradientTile(128, 64, 32, 8, 3, 1),
        "moments rounded": GradientTile(128, 64, 32, 8, 3, 1),
        "moments split": GradientTile(128, 64, 32, 8, 3, 1),
        "moments halves": GradientTile(128, 64, 32, 8, 3, 1),
    },
    "ampere": {
        "merged rounded": GradientTile(128, 128, 32, 8, 3, 1),
        "merged split": GradientTile(128, 64, 16, 8, 2, 1),
        "merged halves": GradientTile(64, 32, 16, 4, 2, 2),
        "moments rounded": GradientTile(64, 64, 32, 8, 2, 1),
        "moments split": GradientTile(128, 64, 16, 8, 2, 1),
        "moments halves": GradientTile(64, 32, 16, 4, 2, 2),
    },
}
GRADIENT_TILES["consumer"] = GRADIENT_TILES["ampere"] | {"moments split": GradientTile(64, 64, 16, 4, 2, 2)}
# A moment table wider than this (n or d above 3) leaves fewer registers for the tile.
NARROW_TABLE = 32
WIDE_TABLE_TILES: dict[str, dict[str, GradientTile]] = {
    "hopper": {
        "rounded": GradientTile(64, 64, 32, 4, 2, 2),
        "split": GradientTile(64, 64, 32, 4, 2, 2),
        "halves": GradientTile(64, 64, 16, 4, 2, 2),
    },
    "blackwell": {
        "rounded": GradientTile(64, 64, 32, 4, 2, 2),
        "split": GradientTile(64, 64, 32, 4, 2, 2),
        "halves": GradientTile(64, 64, 32, 4, 2, 2),
    },
    "ampere": {
        "rounded": GradientTile(64, 64, 32, 8, 2, 1),
        "split": GradientTile(64, 64, 32, 8, 2, 1),
        "halves": GradientTile(64, 32, 32, 4, 2, 2),
    },
}
WIDE_TABLE_TILES["consumer"] = WIDE_TABLE_TILES["ampere"]
# dx and moments from one pass, by what enters the moments and by rising BB. Where no tile holds the batch, or the
# moment table is not narrow, they take a pass each: split tiles and larger batches on 8.0 and 10.0 spill or take more
# instructions than both.
FUSED_TILES: dict[str, dict[str, tuple[FusedTile, ...]]] = {
    "hopper": {
        "rounded": (
            FusedTile(128, 128, 16, 8, 2, 1),
            FusedTile(128, 64, 32, 8, 2, 1),
            FusedTile(128, 64, 64, 8, 2, 1),
        ),
        "split": tuple(FusedTile(64, 64, batch, 4, 2, 2) for batch in (16, 32, 64)),
    },
    "blackwell": {"rounded": (FusedTile(128, 64, 16, 4, 2, 2),)},
    "ampere": {"rounded": (FusedTile(64, 64, 16, 4, 2, 2),)},
}
DIFFERENCE_TILE = GradientTile(64, 64, 16, 4, 2, 2)
FLOAT64_DIFFERENCE_TILE = GradientTile(32, 32, 16, 4, 2, 2)


def product_tile(family: str, arithmetic: str, batch: int, components: int) -> ProductTile:
    """The tile of the product for ``batch`` rows and particles of ``components`` = n + d numbers."""
    by_components = PRODUCT_TILES if components <= FEW_COMPONENTS else MANY_COMPONENTS_PRODUCT_TILES
    return _for_batch(by_components[family][arithmetic], batch)


def factored_product_tile(family: str, batch: int) -> ProductTile:
    """The tile of the product of 16-bit numbers with weights made of factors."""
    return _for_batch(FACTORED_PRODUCT_TILES[family], batch)


def shares_exponentials(family: str, tile: ProductTile) -> bool:
    """Whether weights made of factors have a quarter of their exponentials made by multiply-adds."""
    return LARGEST_BATCH_THAT_SHARES[family] >= tile.BB


def _for_batch(tiles: tuple[ProductTile, ...], batch: int) -> ProductTile:
    return next((tile for tile in tiles if batch <= tile.BB), tiles[-1])


def moment_tile(family: str, arithmetic: str, merged: bool, split_tile: bool, width: int) -> GradientTile:
    """The tile of `moments.moment_kernel` with moment tables of ``width`` columns."""
    operands = "halves" if arithmetic == "halves" else "split" if split_tile else "rounded"
    if width > NARROW_TABLE:
        return WIDE_TABLE_TILES[family][operands]
    return GRADIENT_TILES[family][f"{'merged' if merged else 'moments'} {operands}"]


def fused_tile(family: str, split_tile: bool, batch: int, width: int) -> FusedTile | None:
    """The tile of `fused.fused_backward_kernel`; None where it does not pay."""
    tiles = FUSED_TILES.get(family, {}).get("split" if split_tile else "rounded", ())
    return next((tile for tile in tiles if batch <= tile.BB), None) if width <= NARROW_TABLE else None


def moment_tile_of_pass(family: str, arithmetic: str, split_tile: bool, fused: FusedTile) -> GradientTile:
    """The tile of `moments.moment_kernel` that shares the particles out as a fused pass does."""
    tile = moment_tile(family, arithmetic, True, split_tile, NARROW_TABLE)
    return tile._replace(BI=fused.BI, BJ=fused.BJ, num_warps=8 if fused.BI * fused.BJ > 64 * 64 else 4)


def difference_tile(arithmetic: str) -> GradientTile:
    """The tile of `differences.difference_kernel`."""
    return FLOAT64_DIFFERENCE_TILE if arithmetic == "float64" else DIFFERENCE_TILE


def family_of(major: int, minor: int) -> str:
    """The family of a device by its compute capability; newer ones than known as the newest.

    "consumer" are all with slow tensor cores: those for graphics (8.6, 8.9, 12.0) and those before 8.0.
    """
    if major == 8 and minor == 0:
        return "ampere"
    return {9: "hopper", 10: "blackwell", 11: "blackwell"}.get(major, "consumer")
