"""The cheapest expansion that keeps a tolerance for given particles, and the particles it must leave out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pn_gpu.kernels.host.threads import on_one_blas_thread
from pn_gpu.kernels.mehler.expansion import Approximation, Expansion, make_expansion, ranked_degrees
from pn_gpu.planning import samples
from pn_gpu.planning.frame import MOST_LEFT_OUT, SUBSAMPLE, Frame, find_frame, normal_features, thin
from pn_gpu.planning.remainder import (
    LARGEST_SHELL,
    ROUNDING,
    Nodes,
    Remainder,
    certificate,
    remainder,
    shell_values,
)

Array = np.ndarray[Any, np.dtype[Any]]

# No neuron (row or column of W) errs by more than this many rtol of the root mean square neuron.
NEURON_FACTOR = 15.0
# The sampled estimate has to stay this far under rtol.
SAFETY = 0.8
# Particles that stand for a wide node set while its strays are counted, and rows and columns of a sampled estimate.
PART, SAMPLES = 1 << 14, 160
MOST_FEATURES = 4096
# More features than the tolerance needs can pay by leaving out fewer particles, but not so many more.
MOST_GROWTH = 2.0
# Sizes that are tried on all of many particles differ by this factor, and must promise to save as much of the cost.
GROWTH_STEP, WORTHWHILE = 1.2, 0.8


class Found(NamedTuple):
    """An approximation that keeps the tolerance; errors are relative to |W|_F, that of a neuron to its mean
    square."""

    approximation: Approximation
    certificate: float
    estimate: float
    neuron_bound: float


class Problem(NamedTuple):
    """What an expansion is wanted for.

    Parameters
    ----------
    inputs, outputs : Nodes
    rtol : float
    norm : float
        |W|_F.
    cost : callable
        ``cost(P, left-out inputs, left-out outputs)`` in seconds.
    """

    inputs: Nodes
    outputs: Nodes
    rtol: float
    norm: float
    cost: Callable[[int, int, int], float]

    @property
    def sides(self) -> tuple[Nodes, Nodes]:
        """Both node sets."""
        return self.inputs, self.outputs

    def part(self, most: int) -> Problem:
        """The problem of at most ``most`` particles of either node set; its cost is that of the whole."""
        part_in, part_out = (Nodes(thin(side.r, most), thin(side.v, most)) for side in self.sides)
        share_in, share_out = len(part_in.r) / len(self.inputs.r), len(part_out.r) / len(self.outputs.r)

        def cost(features: int, left_out_in: int, left_out_out: int) -> float:
            return self.cost(features, round(left_out_in / share_in), round(left_out_out / share_out))

        # Of the part's own neurons and sums: the norm of the part of W that the picked particles span.
        return Problem(part_in, part_out, self.rtol, self.norm * math.sqrt(share_in * share_out), cost)

    def solve(self, expansion: Expansion) -> Found | None:
        """``expansion`` and the particles it must leave out; None if it does not keep the tolerance even so."""
        found = approximate(expansion, self.inputs, self.outputs, self.rtol, self.norm)
        return None if found is None or found.estimate > self.rtol else found

    def price(self, found: Found) -> float:
        """What it costs."""
        return self.cost(*found.approximation.size)


@on_one_blas_thread
def find_approximation(
    inputs: Nodes, outputs: Nodes, rtol: float, most: int, cost: Callable[[int, int, int], float]
) -> Found | None:
    """The approximation of least ``cost(P, left-out inputs, left-out outputs)`` with at most ``most``
    features."""
    norm = samples.sampled_norm(inputs, outputs, SAMPLES, np.random.default_rng(0))
    most = min(most, MOST_FEATURES)
    if norm == 0 or most < 1:
        return None
    frame = find_frame(inputs.r, outputs.r)
    if normal_features(frame.rates, rtol, 2 * most) is None:
        return None
    guess = normal_features(frame.rates, rtol / 4, most)
    count = most if guess is None else min(most, guess + guess // 4)
    problem = Problem(inputs, outputs, rtol, norm, cost)
    while True:
        candidates = _Candidates(frame, count, problem)
        for features in _by_full_cost(candidates, problem):
            found = problem.solve(candidates.expansion(features))
            if found is not None:
                return _with_fewer_left_out(found, candidates, problem)
        if count >= most:
            return None
        count = min(most, 2 * count)


def _with_fewer_left_out(found: Found, candidates: _Candidates, problem: Problem) -> Found:
    """``found``, or a larger expansion that costs less: of a million particles the part that was priced shows no
    stray."""
    if max(len(side.r) for side in problem.sides) <= PART:
        return found
    tried = found.approximation.expansion.num_features
    for size in candidates.sizes:
        if size < GROWTH_STEP * tried or problem.cost(size, 0, 0) > WORTHWHILE * problem.price(found):
            continue
        tried = size
        other = problem.solve(candidates.expansion(size))
        if other is not None and problem.price(other) < problem.price(found):
            found = other
    return found


def _by_full_cost(candidates: _Candidates, problem: Problem) -> list[int]:
    """Sizes to try, best first: rare strays do not show in the small part of the particles that candidates look at."""
    sizes, part = candidates.by_cost(), problem.part(PART)
    priced: list[tuple[float, int]] = []
    for size in sorted(size for size in sizes if size >= sizes[0]):
        if priced and size > 1.3 * min(priced)[1]:
            break
        found = part.solve(candidates.expansion(size))
        if found is None:
            continue
        priced.append((part.price(found), size))
        if not any(found.approximation.size[1:]):
            break
    first = [size for _, size in sorted(priced)]
    return first + [size for size in sorted(sizes) if size not in first]


@on_one_blas_thread
def approximate(
    expansion: Expansion, inputs: Nodes, outputs: Nodes, rtol: float, norm: float | None = None
) -> Found | None:
    """Choose the particles that ``expansion`` must leave out, of all, and measure what remains."""
    rng = np.random.default_rng(1)
    norm = norm or samples.sampled_norm(inputs, outputs, SAMPLES, rng)
    if norm == 0:
        return None
    missed_in, missed_out = remainder(expansion, inputs), remainder(expansion, outputs)
    limits = _neuron_limits(rtol, norm, len(inputs.r), len(outputs.r))
    left_out_in, left_out_out = choose_left_out(missed_in, missed_out, *limits)
    if left_out_in.mean() > MOST_LEFT_OUT or left_out_out.mean() > MOST_LEFT_OUT:
        return None
    sums_in, sums_out = missed_in.sums(left_out_in), missed_out.sums(left_out_out)
    worst = max(
        float(np.where(left_out, 0, missed.bounds(sums, limit / 2)).max()) * math.sqrt(len(left_out))
        for left_out, missed, sums, limit in (
            (left_out_in, missed_in, sums_out, limits[0]),
            (left_out_out, missed_out, sums_in, limits[1]),
        )
    )
    weights_in, weights_out = np.where(left_out_in, 0, missed_in.e), np.where(left_out_out, 0, missed_out.e)
    estimate = samples.sampled_error(expansion, inputs, weights_in, outputs, weights_out, SAMPLES, rng)
    return Found(
        Approximation(expansion, np.flatnonzero(left_out_in), np.flatnonzero(left_out_out)),
        certificate(sums_in, sums_out) / norm,
        estimate / norm,
        worst / norm,
    )


def choose_left_out(
    missed_in: Remainder, missed_out: Remainder, limit_in: float, limit_out: float
) -> tuple[Array, Array]:
    """Masks of the particles whose neuron bound would exceed its limit."""
    left_out_in, left_out_out = np.zeros(len(missed_in.e), dtype=bool), np.zeros(len(missed_out.e), dtype=bool)
    # Leaving out the first batch lowers everybody's bound; the second round takes some of it back in, and the third
    # leaves out whoever that brings over the limit, so the bounds hold for the set as it ends.
    for sharp in (False, True, True):
        sums_in = missed_in.sums(left_out_in) if sharp else missed_in.coarse_sums(left_out_in)
        sums_out = missed_out.sums(left_out_out) if sharp else missed_out.coarse_sums(left_out_out)
        left_out_in = missed_in.bounds(sums_out, limit_in) > limit_in
        left_out_out = missed_out.bounds(sums_in, limit_out) > limit_out
        if not sharp and not (left_out_in.any() or left_out_out.any()):
            break
    return left_out_in, left_out_out


def _neuron_limits(rtol: float, norm: float, num_in: int, num_out: int) -> tuple[float, float]:
    whole = NEURON_FACTOR * rtol * norm
    return whole / math.sqrt(num_in), whole / math.sqrt(num_out)


class _Candidates:
    """Expansions of growing size in one frame, compared on a part of the particles."""

    def __init__(self, frame: Frame, count: int, problem: Problem) -> None:
        self.frame, self.part = frame, problem.part(SUBSAMPLE)
        self._known_left_out: dict[int, tuple[Array, Array]] = {}
        self.degrees, weights = ranked_degrees(frame.rates, count)
        steps = np.flatnonzero(np.diff(weights, append=np.inf) > 1e-9) + 1
        steps = steps[steps <= max(count, steps[0])]
        # Sizes 10 % apart are as many as matter.
        self.sizes = [int(p) for k, p in enumerate(steps) if k == 0 or k == len(steps) - 1 or _is_step(steps, k)]
        self._phi_in, self._phi_out = (self._features(s.r) for s in self.part.sides)  # [P, S]
        self._e_in, self._e_out = (_missed(phi) for phi in (self._phi_in, self._phi_out))  # [P, S]

    def expansion(self, features: int) -> Expansion:
        """The expansion with the first ``features`` of the ranked degrees."""
        return make_expansion(self.frame.centre, self.frame.rotation, self.frame.rates, self.degrees[:features])

    def by_cost(self) -> list[int]:
        """Sizes that seem to keep the tolerance, cheapest first."""
        low, high = 0, len(self.sizes)
        while low < high:
            middle = (low + high) // 2
            if self._error(middle) <= SAFETY * self.part.rtol:
                high = middle
            else:
                low = middle + 1
        priced: list[tuple[float, int]] = []
        for k in range(low, len(self.sizes)):
            if priced and self.sizes[k] > MOST_GROWTH * self.sizes[low]:
                break
            left_out = self._left_out(k)
            if max(mask.mean() for mask in left_out) <= MOST_LEFT_OUT:
                counts = (int(mask.sum()) for mask in left_out)
                priced.append((self.part.cost(self.sizes[k], *counts), self.sizes[k]))
        return [size for _, size in sorted(priced)]

    def _features(self, r: Array) -> Array:
        largest = self.expansion(len(self.degrees))
        phi = samples.features(largest, r)
        row = {tuple(degree): k for k, degree in enumerate(largest.degrees.tolist())}
        return phi[[row[tuple(degree)] for degree in self.degrees.tolist()]]

    def _left_out(self, k: int) -> tuple[Array, Array]:
        if k not in self._known_left_out:
            self._known_left_out[k] = self._choose_left_out(k)
        return self._known_left_out[k]

    def _choose_left_out(self, k: int) -> tuple[Array, Array]:
        inputs, outputs, rtol, norm, _ = self.part
        limits = _neuron_limits(rtol, norm, len(inputs.r), len(outputs.r))
        missed_in = self._remainder(k, inputs.v, self._phi_in, self._e_in)
        missed_out = self._remainder(k, outputs.v, self._phi_out, self._e_out)
        return choose_left_out(missed_in, missed_out, *limits)

    def _remainder(self, k: int, v: Array, phi: Array, e: Array) -> Remainder:
        size = self.sizes[k]
        wider = min(size + LARGEST_SHELL // v.shape[1], len(phi))
        return Remainder(v, e[size - 1], e[wider - 1], shell_values(phi[size:wider], v))

    def _error(self, k: int) -> float:
        """Estimated relative error with the left-out particles exact; infinite if they are too many."""
        left_out_in, left_out_out = self._left_out(k)
        if max(left_out_in.mean(), left_out_out.mean()) > MOST_LEFT_OUT:
            return math.inf
        last = self.sizes[k] - 1
        e_in, e_out = np.where(left_out_in, 0, self._e_in[last]), np.where(left_out_out, 0, self._e_out[last])
        rng, part = np.random.default_rng(2), self.part
        expansion = self.expansion(self.sizes[k])
        return samples.sampled_error(expansion, part.inputs, e_in, part.outputs, e_out, SAMPLES, rng) / part.norm


def _missed(phi: Array) -> Array:
    """1 - sum of the squares of the first features, for every number of them: [P, S]."""
    return np.clip(1 - np.cumsum(phi * phi, axis=0), ROUNDING, 1)


def _is_step(steps: Array, k: int) -> bool:
    """Whether a size is the first in its 10 % bin."""
    return math.floor(math.log(steps[k]) / 0.1) > math.floor(math.log(steps[k - 1]) / 0.1)
