"""Which contributions can be missed: backward elimination by their scalar products alone.

With c_j the share that particle j keeps of its contribution (1 at the start, 0 once it is removed), what is lost is
(c - 1)^T G (c - 1), where G holds the scalar products. Particles are removed one after the other, each time the one
whose loss is least when the others make up for it: with P = (G + ridge)^-1 of those that are left, c_j^2 / P_jj, as in
Optimal Brain Surgeon (Hassibi and Stork, 1993), here for particles in place of weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]

# Of the mean of G's diagonal. It keeps shares near 1 where the examples say little.
RIDGE = 0.01
# A particle that is kept is not silenced: it is to learn on.
LEAST_SHARE = 0.05
# Wide levels lose several at a time, so that no more matrices of H x H are updated than this.
UPDATES = 512


def eliminate(gram: HostArray, keep: int) -> tuple[HostArray, HostArray]:
    """The particles to keep, ascending [keep], and their shares [keep], which make up for those that are removed."""
    hidden = len(gram)
    regular = regularised(gram)
    inverse, shares = np.linalg.inv(regular), np.ones(hidden)
    left = np.arange(hidden)
    while len(left) > keep:
        loss = shares**2 / np.diag(inverse)
        count = min(max(hidden // UPDATES, 1), len(left) - keep)
        order = np.argsort(loss, kind="stable")
        out, stay = order[:count], np.sort(order[count:])
        # What the others take over, and the inverse without those removed.
        take_over = np.linalg.solve(inverse[np.ix_(out, out)], inverse[out])
        shares = (shares - shares[out] @ take_over)[stay]
        inverse = inverse[np.ix_(stay, stay)] - inverse[np.ix_(stay, out)] @ take_over[:, stay]
        left = left[stay]
    return left, best_shares(regular, left)


def eliminate_unscaled(gram: HostArray, keep: int) -> HostArray:
    """The particles to keep, ascending [keep], where no other can make up for those that are removed."""
    loss, removed = np.diag(gram).astype(np.float64), np.zeros(len(gram), bool)
    for _ in range(len(gram) - keep):
        least = int(np.argmin(np.where(removed, np.inf, loss)))
        removed[least] = True
        loss += 2 * gram[least]
    return np.flatnonzero(~removed)


def regularised(gram: HostArray) -> HostArray:
    return gram + (RIDGE * float(np.trace(gram)) / len(gram) or 1.0) * np.eye(len(gram))


def best_shares(regular: HostArray, kept: HostArray) -> HostArray:
    """The shares of least loss that are no smaller than `LEAST_SHARE`."""
    matrix = regular[np.ix_(kept, kept)]
    wanted = regular[kept].sum(1)
    shares, free = np.full(len(kept), LEAST_SHARE), np.ones(len(kept), bool)
    while free.any():
        rest = wanted[free] - matrix[np.ix_(free, ~free)] @ shares[~free]
        solution = np.linalg.solve(matrix[np.ix_(free, free)], rest)
        if (solution >= LEAST_SHARE).all():
            shares[free] = solution
            break
        free[np.flatnonzero(free)[solution < LEAST_SHARE]] = False
    return shares
