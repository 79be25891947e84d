"""Particles that lie near one another become one: no examples are needed, as a dense layer would.

Behind phi(a z) = a phi(z) a particle with the dipole v as an output of one layer and the dipole v' as an input of the
next contributes |v| |v'| times what one at its places with dipoles of unit length in their directions would (its bias
divided by |v| too); v' is v in a shared set. So it is a point, its places and directions, with the mass |v| |v'|. Pairs
become their barycentre with the sum of their masses, each time the pair for which the masses have to move least (Ward,
Hierarchical grouping to optimize an objective function, 1963).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]


def merge(
    positions: Sequence[HostArray], dipoles: Sequence[HostArray], bias: HostArray, keep: int
) -> tuple[list[HostArray], list[HostArray], HostArray]:
    """``keep`` particles in place of H, in the order of their firsts.

    Parameters
    ----------
    positions, dipoles : sequences of arrays, [H, n] and [H, d]
        Of one shared node set; or of two, as outputs and as inputs.
    bias : array, [H]
    keep : int
    """
    dim, lengths = sum(r.shape[1] for r in positions), [np.linalg.norm(v, axis=1) for v in dipoles]
    mass = lengths[0] * lengths[-1]
    # How the mass is shared out between the dipoles as outputs and as inputs.
    balance = np.sqrt(_quotient(lengths[0], lengths[-1], otherwise=1.0))
    units = [v * _quotient(1, length)[:, None] for v, length in zip(dipoles, lengths, strict=True)]
    points = np.concatenate([*positions, *units], axis=1)
    bias = bias * _quotient(1, lengths[0])
    alive = np.ones(len(points), bool)
    costs = np.array([_costs(points, mass, one) for one in range(len(points))])
    for _ in range(len(points) - keep):
        one, other = sorted(divmod(int(np.argmin(costs)), len(points)))
        total = mass[one] + mass[other]
        share = mass[one] / total if total > 0 else 0.5
        for values in (points, bias, balance):
            values[one] = share * values[one] + (1 - share) * values[other]
        points[one, dim:] = _units(points[one, dim:].reshape(len(dipoles), -1)).ravel()
        mass[one], alive[other] = total, False
        costs[other] = costs[:, other] = np.inf
        costs[one] = np.where(alive, _costs(points, mass, one), np.inf)
        costs[:, one] = costs[one]
    size, balance = np.sqrt(mass[alive]), balance[alive]
    merged = [size * balance, size / balance][: len(dipoles)]
    places = np.split(points[alive, :dim], len(positions), axis=1)
    directions = np.split(points[alive, dim:], len(dipoles), axis=1)
    vectors = [u * length[:, None] for u, length in zip(directions, merged, strict=True)]
    return places, vectors, bias[alive] * merged[0]


def _costs(points: HostArray, mass: HostArray, one: int) -> HostArray:
    """Of merging ``one`` with every other [H]: m m' / (m + m') times the square of their distance."""
    total = mass + mass[one]
    costs: HostArray = _quotient(mass * mass[one], total) * ((points - points[one]) ** 2).sum(1)
    costs[one] = np.inf
    return costs


def _units(vectors: HostArray) -> HostArray:
    """Rows of unit length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _quotient(numerator: Any, denominator: HostArray, otherwise: float = 0.0) -> HostArray:
    """With ``otherwise`` where either is 0."""
    fill = np.full_like(denominator, otherwise)
    return np.divide(numerator, denominator, out=fill, where=(denominator > 0) & (np.asarray(numerator) > 0))
