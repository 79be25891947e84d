"""The fields of `bench sensors`, what sensors at any place read of them, and what happens to the sensors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import pn_gpu as pn
from bench.equal_parameters_data import Split

Array = np.ndarray[Any, Any]

# The grid of sensors that networks are trained with.
SHAPES = {"mnist": (28, 28), "mnist1d": (40,)}
# Sensors along each axis of the grids that take its place.
GRIDS = {"mnist": (14, 20, 40), "mnist1d": (20, 30, 80)}
DROPPED = (0.25, 0.5, 0.75)
# Standard deviation of a move along each axis, in spacings of the grid.
MOVED = (0.25, 0.5, 1.0)


class Change(NamedTuple):
    """What happened to the sensors: ``kept``, ``dropped``, ``moved`` or ``grid``, how much, and where they are now.

    ``places`` are in spacings of the old grid about its centre; ``old`` says which of the old sensors each is, where
    that is so.
    """

    kind: str
    amount: str
    places: Array
    old: Array | None


def home(data: str) -> Array:
    """Places of the sensors in training, in spacings about the centre."""
    return places_of(SHAPES[data], data)


def places_of(shape: tuple[int, ...], data: str) -> Array:
    """A grid that fills the same box as the old one, in spacings of that."""
    return pn.grid_positions(shape, half_width=max(SHAPES[data]) / 2)


def changes(data: str, seed: int) -> Iterator[Change]:
    """All that happens to the sensors; which are dropped, and where they move, follows from the seed."""
    rng = np.random.default_rng(seed)
    places = home(data)
    everyone = np.arange(len(places))
    yield Change("kept", "", places, everyone)
    for share in DROPPED:
        kept = np.sort(rng.permutation(len(places))[: round(len(places) * (1 - share))])
        yield Change("dropped", f"{share:.0%}", places[kept], kept)
    for spacings in MOVED:
        yield Change("moved", f"{spacings:g}", places + spacings * rng.standard_normal(places.shape), everyone)
    for count in GRIDS[data]:
        shape = (count,) * len(SHAPES[data])
        yield Change("grid", "x".join(map(str, shape)), places_of(shape, data), None)


def readings(split: Split, data: str, places: Array) -> Array:
    """Test examples as sensors at ``places`` [N', n] read them, [B, N']: linear between samples, constant outside."""
    shape = SHAPES[data]
    field = split.x_test.reshape(-1, *shape)
    highest = np.array(shape) - 1
    index = np.clip(places + highest / 2, 0, highest)
    below = np.minimum(index.astype(np.int64), np.maximum(highest - 1, 0))
    part = index - below
    total = np.zeros((len(field), len(places)))
    for corner in product((0, 1), repeat=len(shape)):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1)
        total += field[(slice(None), *(below + corner).T)] * weight
    return total.astype(np.float32)
