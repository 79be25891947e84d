"""Particles that lie near one another become one: no examples are needed, as a dense layer would.

Behind phi(a z) = a phi(z) a particle of a shared set contributes |v|^2 times what one at its place with a dipole of
unit length in its direction would (its bias divided by |v| too). So it is a point, its position and direction, with the
mass |v|^2. Pairs become their barycentre with the sum of their masses, each time the pair for which the masses have to
move least (Ward, Hierarchical grouping to optimize an objective function, 1963).
"""

from __future__ import annotations

from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]


def merge(
    positions: HostArray, dipoles: HostArray, bias: HostArray, keep: int
) -> tuple[HostArray, HostArray, HostArray]:
    """``keep`` particles in place of positions [H, n], dipoles [H, d] and biases [H], in the order of their firsts."""
    dim, lengths = positions.shape[1], np.linalg.norm(dipoles, axis=1)
    mass = lengths**2
    per_length = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    points = np.concatenate([positions, dipoles * per_length[:, None]], axis=1)
    bias = bias * per_length
    alive = np.ones(len(points), bool)
    costs = np.array([_costs(points, mass, one) for one in range(len(points))])
    for _ in range(len(points) - keep):
        one, other = sorted(divmod(int(np.argmin(costs)), len(points)))
        total = mass[one] + mass[other]
        share = mass[one] / total if total > 0 else 0.5
        points[one] = share * points[one] + (1 - share) * points[other]
        points[one, dim:] = _unit(points[one, dim:])
        bias[one] = share * bias[one] + (1 - share) * bias[other]
        mass[one], alive[other] = total, False
        costs[other] = costs[:, other] = np.inf
        costs[one] = np.where(alive, _costs(points, mass, one), np.inf)
        costs[:, one] = costs[one]
    lengths = np.sqrt(mass[alive])
    return points[alive, :dim], points[alive, dim:] * lengths[:, None], bias[alive] * lengths


def _costs(points: HostArray, mass: HostArray, one: int) -> HostArray:
    """Of merging ``one`` with every other [H]: m m' / (m + m') times the square of their distance."""
    total = mass + mass[one]
    reduced = np.divide(mass * mass[one], total, out=np.zeros_like(mass), where=total > 0)
    costs: HostArray = reduced * ((points - points[one]) ** 2).sum(1)
    costs[one] = np.inf
    return costs


def _unit(vector: HostArray) -> HostArray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
