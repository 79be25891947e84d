"""Readings of a field at some places from readings at others, as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.checks import check_choice
from pn_gpu.model.fixed_positions import check_positions

Array = np.ndarray[Any, Any]

INTERPOLATIONS = ("kriging", "nearest")

# Places whose distances are held at a time to find the nearest.
ROWS = 1024
# Variance of a reading's own error beside that of the field across its extent: two sensors at one place share.
NUGGET = 1e-9


def interpolation_matrix(sources: Any, targets: Any, method: str = "kriging") -> Array:
    """A [T, S] such that ``A @ readings`` at S sources stand for those at T targets; its rows add up to 1.

    Parameters
    ----------
    sources : array, [S, n]
        Places at which the field is read.
    targets : array, [T, n]
        Places at which it is wanted.
    method : {"kriging", "nearest"}, default "kriging"
        kriging: the best linear unbiased estimate for a field whose differences have a variance in proportion to the
        distance (ordinary kriging with a linear variogram; Matheron, 1963). It has no length to choose; in one
        dimension it is linear interpolation, constant outside. Takes O(S^3 + S^2 T) time. nearest: the reading of the
        nearest source, in O(S T) time.

    Returns
    -------
    ndarray of float64, [T, S]

    Raises
    ------
    ValueError, TypeError
        If positions are not finite, not of one dimension n, or the method is another.
    """
    check_choice("method", method, INTERPOLATIONS)
    start = check_positions(sources, name="sources")
    end = check_positions(targets, dim=start.shape[1], name="targets")
    return _kriging(start, end) if method == "kriging" else _nearest(start, end)


def _distances(a: Array, b: Array) -> Array:
    """|a_i - b_j| [len(a), len(b)]."""
    return np.sqrt(sum((a[:, None, axis] - b[:, axis]) ** 2 for axis in range(a.shape[1])))


def _kriging(sources: Array, targets: Array) -> Array:
    """Weights a of each target from [[-D, 1], [1, 0]] [a, m] = [-d, 1], with D and d the distances."""
    num = len(sources)
    system = np.ones((num + 1, num + 1))
    system[:num, :num] = -_distances(sources, sources)
    extent = float(-system[:num, :num].min()) or 1.0
    system[np.diag_indices(num)] = NUGGET * extent
    system[num, num] = 0
    right = np.ones((num + 1, len(targets)))
    right[:num] = -_distances(sources, targets)
    return np.linalg.solve(system, right)[:num].T


def _nearest(sources: Array, targets: Array) -> Array:
    matrix = np.zeros((len(targets), len(sources)))
    for start in range(0, len(targets), ROWS):
        nearest = _distances(targets[start : start + ROWS], sources).argmin(axis=1)
        matrix[np.arange(start, start + len(nearest)), nearest] = 1
    return matrix
