"""Coordinates that suit a cloud of particles, and how many features its spread takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pn_gpu.kernels.mehler.expansion import SMALLEST_SPREAD, ranked_degrees, rate

Array = np.ndarray[Any, np.dtype[Any]]

# Particles that stand for a node set while expansions are compared.
SUBSAMPLE = 768
# An expansion that has to leave out more of either node set than this is not considered.
MOST_LEFT_OUT = 0.1


class Frame(NamedTuple):
    """Coordinates that suit a cloud of particles."""

    centre: Array  # [n]
    rotation: Array  # [n, n]
    rates: Array  # [n]

    @property
    def spreads(self) -> Array:
        """Standard deviation along every axis, as far as the rate tells: [n]."""
        return np.sqrt(self.rates / 2) / (1 - self.rates)


def find_frame(r_in: Array, r_out: Array) -> Frame:
    """Centre, principal axes and rates of both node sets together, stray particles disregarded."""
    r = np.concatenate([thin(r_in, SUBSAMPLE), thin(r_out, SUBSAMPLE)])
    centre = np.median(r, axis=0)
    scale = 1.4826 * np.median(np.abs(r - centre), axis=0)
    kept = r[(np.abs(r - centre) <= 6 * np.maximum(scale, SMALLEST_SPREAD)).all(axis=1)]
    if len(kept) < (1 - MOST_LEFT_OUT) * len(r):
        kept = r
    centre = kept.mean(axis=0)
    variances, rotation = np.linalg.eigh((kept - centre).T @ (kept - centre) / len(kept))
    spreads = np.sqrt(np.maximum(variances, 0))
    return Frame(centre, rotation, np.array([rate(spread) for spread in spreads]))


def normal_features(rates: Array, rtol: float, most: int) -> int | None:
    """How many features ``rtol`` takes for normally distributed positions; None if more than ``most``."""
    count = 16
    while count <= 2 * most:
        _, weights = ranked_degrees(rates, min(count, most))
        left = 1 - np.cumsum(np.exp(-2 * weights)) * np.prod(1 - rates**2)
        enough = np.flatnonzero(left <= rtol * rtol)
        if len(enough):
            return int(enough[0]) + 1
        if count >= most:
            return None
        count *= 4
    return None


def thin(a: Array, most: int) -> Array:
    """At most ``most`` rows, evenly picked."""
    return a if len(a) <= most else a[(np.arange(most) * (len(a) / most)).astype(np.int64)]
