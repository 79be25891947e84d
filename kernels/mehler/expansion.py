"""Which features approximate the Gaussian of a cloud of particles: coordinates, rates t and the set of
degrees."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# A narrower axis needs degree 0 alone; the floor keeps the first derivative along it accurate.
SMALLEST_SPREAD = 0.02


def rate(spread: float) -> float:
    """The t that suits positions of standard deviation ``spread`` along an axis."""
    q = 1 / (2 * max(spread, SMALLEST_SPREAD) ** 2)
    return 2 / (2 + q + math.sqrt(q * q + 4 * q))


class Level(NamedTuple):
    """Products of the f along some first axes: row by row, which product of one axis fewer, times which degree."""

    prefix: Array
    degree: Array


@dataclass(frozen=True, eq=False)
class Expansion:
    """A truncated Mehler expansion of exp(-|r_i - r_j|^2).

    Parameters
    ----------
    centre : ndarray, [n]
        Origin of the coordinates.
    rotation : ndarray, [n, n]
        Orthogonal; coordinates are ``(r - centre) @ rotation``.
    rates : ndarray, [n]
        The t of every axis, in (0, 1).
    degrees : ndarray of int, [P, n]
        Degrees of the features, in lexicographic order. With a feature the set holds every feature of lower
        degree.
    """

    centre: Array
    rotation: Array
    rates: Array
    degrees: Array

    @property
    def num_features(self) -> int:
        """P."""
        return len(self.degrees)

    @property
    def num_axes(self) -> int:
        """n."""
        return self.degrees.shape[1]

    @cached_property
    def lengths(self) -> list[int]:
        """How many degrees each axis needs."""
        return [int(top) + 1 for top in self.degrees.max(axis=0)]

    @cached_property
    def levels(self) -> list[Level]:
        """Per axis from the second on, how products over the first axes are extended by one more."""
        levels = []
        prefixes = _distinct(self.degrees[:, :1])
        for axes in range(2, self.num_axes + 1):
            rows = _distinct(self.degrees[:, :axes])
            position = {tuple(prefix): row for row, prefix in enumerate(prefixes.tolist())}
            prefix = np.array([position[tuple(row[:-1])] for row in rows.tolist()], dtype=np.int64)
            levels.append(Level(prefix, rows[:, -1]))
            prefixes = rows
        return levels

    @cached_property
    def lowered(self) -> list[tuple[Array, Array]]:
        """Per axis and for every feature: the row of the one a degree lower along it, and sqrt(2 k (1 - t^2)), which
        is 0 where there is none."""
        position = {tuple(degree): row for row, degree in enumerate(self.degrees.tolist())}
        result = []
        for axis, t in enumerate(self.rates):
            below = self.degrees.copy()
            below[:, axis] = np.maximum(below[:, axis] - 1, 0)
            lower = np.array([position[tuple(degree)] for degree in below.tolist()], dtype=np.int64)
            result.append((lower, np.sqrt(2 * self.degrees[:, axis] * (1 - t * t))))
        return result

    @cached_property
    def recurrence(self) -> tuple[Array, Array]:
        """Factors a_k and scales s_k, [K, n] each: f_k = s_k h_k with h_{k+1} = a_k x h_k - h_{k-1}.

        The scale takes the factor of the last term away, and with it a pass over memory.
        """
        t, count = self.rates, max(self.lengths)
        scale, factor = np.ones((count + 1, self.num_axes)), np.empty((count, self.num_axes))
        for k in range(count):
            if k > 0:
                scale[k + 1] = t * math.sqrt(k / (k + 1)) * scale[k - 1]
            factor[k] = np.sqrt(2 * (1 - t * t) / (k + 1)) * scale[k] / scale[k + 1]
        return factor, scale[:-1] * (1 - t * t) ** 0.25


def _distinct(rows: Array) -> Array:
    """Rows in lexicographic order, each once; they come sorted."""
    keep = np.ones(len(rows), dtype=bool)
    keep[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[keep]


def make_expansion(centre: Array, rotation: Array, rates: Array, degrees: Array) -> Expansion:
    """An `Expansion` with its degrees brought into order."""
    order = np.lexsort(degrees.T[::-1])
    return Expansion(centre, rotation, rates, np.ascontiguousarray(degrees[order]))


def ranked_degrees(rates: Array, count: int) -> tuple[Array, Array]:
    """The ``count`` features that matter most, and their weights sum_d a_d ln(1/t_d), ascending.

    For positions of a normal distribution the feature a carries the share prod_d t_d^a_d, so the set
    {a : weight < c} is the best of its size. It may return more than ``count``, never a part of a tie.
    """
    steps = np.log(1 / np.asarray(rates, dtype=np.float64))
    # About (c + sum(steps) / 2)^n / (n! prod(steps)) integer points lie in the simplex {a . steps < c}.
    volume = count * math.factorial(len(steps)) * float(np.prod(steps))
    high = max(volume ** (1 / len(steps)) - float(steps.sum()) / 2, 0.0)
    while _count_below(steps, high, count) < count:
        high += 0.5 * float(steps.min())
    degrees = _degrees_below(steps, high)
    weights = degrees @ steps
    order = np.argsort(weights, kind="stable")
    return degrees[order], weights[order]


def _count_below(steps: Array, cutoff: float, enough: int) -> int:
    """How many degrees have a weight of at most ``cutoff``; counting stops soon after ``enough``."""
    weights = np.zeros(1)
    for step in steps:
        parts, offset = [], 0.0
        size = 0
        while offset <= cutoff:
            part = weights[weights <= cutoff - offset] + offset
            if len(part) == 0:
                break
            parts.append(part)
            size += len(part)
            if size > 4 * enough:
                return size
            offset += step
        weights = np.concatenate(parts)
    return len(weights)


def _degrees_below(steps: Array, cutoff: float) -> Array:
    """All degrees [P, n] with a weight of at most ``cutoff``."""
    degrees = np.zeros((1, 0), dtype=np.int64)
    weights = np.zeros(1)
    for step in steps:
        room = np.floor((cutoff - weights) / step).astype(np.int64) + 1
        rows = np.repeat(np.arange(len(degrees)), room)
        last = np.arange(len(rows)) - np.repeat(np.cumsum(room) - room, room)
        degrees = np.column_stack([degrees[rows], last])
        weights = weights[rows] + last * step
    return degrees


@dataclass(frozen=True, eq=False)
class Approximation:
    """How W is approximated: an expansion, and the particles whose weights are exact instead.

    Parameters
    ----------
    expansion : Expansion
    left_out_in, left_out_out : ndarray of int
        Ascending indices of the input and output particles that the expansion leaves out.
    """

    expansion: Expansion
    left_out_in: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    left_out_out: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def size(self) -> tuple[int, int, int]:
        """What its cost depends on: the features P, and the left-out inputs and outputs."""
        return self.expansion.num_features, len(self.left_out_in), len(self.left_out_out)
