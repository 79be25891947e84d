"""Ranges cut into slices."""

from __future__ import annotations


def tile_slices(length: int, tile: int) -> list[slice]:
    """Slices of at most ``tile`` that cover ``range(length)``."""
    return [slice(start, min(start + tile, length)) for start in range(0, length, tile)]


def even_slices(length: int, count: int) -> list[slice]:
    """About ``count`` slices of one length, but for the last, that cover ``range(length)``."""
    return tile_slices(length, max(1, -(-length // max(count, 1))))
