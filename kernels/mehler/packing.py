"""An approximation as one array of numbers: how it travels where Python objects cannot."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from pn_gpu.kernels.mehler.expansion import Approximation, Array, Expansion

# Packed arrays come in few lengths, so that a graph compiled for one plan serves the next.
SHORTEST = 1 << 10
# Approximations found again by their numbers: those of a network's layers in turn.
MOST_KEPT = 64

_kept: OrderedDict[bytes, Approximation] = OrderedDict()


def pack(approximation: Approximation) -> Array:
    """Sizes, centre, rotation, rates, degrees and left-out particles in one float64 array, filled up with zeros."""
    expansion = approximation.expansion
    left_out = approximation.left_out_in, approximation.left_out_out
    parts = [
        np.array([expansion.num_axes, expansion.num_features, *map(len, left_out)]),
        expansion.centre,
        expansion.rotation.ravel(),
        expansion.rates,
        expansion.degrees.ravel(),
        *left_out,
    ]
    numbers = np.concatenate([np.asarray(part, np.float64) for part in parts])
    length = max(SHORTEST, 1 << (len(numbers) - 1).bit_length())
    return np.pad(numbers, (0, length - len(numbers)))


def unpack(packed: Array) -> Approximation:
    """The approximation of `pack`."""
    key = packed.tobytes()
    approximation = _kept.pop(key, None)
    if approximation is None:
        approximation = _unpack(np.array(packed))
    _kept[key] = approximation
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)
    return approximation


def _unpack(packed: Array) -> Approximation:
    axes, features, *left_out = packed[:4].astype(np.int64).tolist()
    lengths = axes, axes * axes, axes, features * axes, *left_out
    ends = 4 + np.cumsum(lengths)
    centre, rotation, rates, degrees, left_out_in, left_out_out = np.split(packed[4 : ends[-1]], ends[:-1] - 4)
    whole = (a.astype(np.int64) for a in (degrees, left_out_in, left_out_out))
    degrees, left_out_in, left_out_out = whole
    expansion = Expansion(centre, rotation.reshape(axes, axes), rates, degrees.reshape(features, axes))
    return Approximation(expansion, left_out_in, left_out_out)
