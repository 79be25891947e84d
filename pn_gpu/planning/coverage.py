"""Whether a plan still holds for particles that may have moved, or been replaced: a test in O(N + M) at every call.

What an expansion misses of a particle at r, e(r) = 1 - |Phi(r)|^2, grows with the distance from its centre. With

    q(r) = sum_d ln(1/t_d) 2 (1 - t_d) / (1 + t_d) u_d^2,        u the coordinates of r in the expansion's frame,

the mean of the weights sum_d a_d ln(1/t_d) under Phi_a(r)^2 is q plus a constant, so e is nearly a function of q: its
envelope over all directions is made once for an expansion, as a table. The error of W is at most

    |dW|_F^2 <= S_in S_out,        S = sum_i e(r_i) |v_i|^2 over the particles that are not left out,

and the test asks that this bound, relative to |W|_F, is not much more than when the error was measured, and likewise
that of the worst row and column of W. How far below
its bound the error stays depends on how the particles lie: so a few of them, always the same, are looked at closely.
They give the change of |W|_F, and tell a step of training from particles that were put in place of the old ones.

On a GPU the host waits for the answer, once a call. One that came a step late would let a step through with particles
that the plan was not made for, such as others loaded in their place, and nothing bounds its error then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import array_api_compat as compat
import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.kernels.mehler.expansion import Approximation, Expansion
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.room import Particles
from pn_gpu.planning.samples import features

Array = Any

# By how much the bound may grow before the error is measured again.
GROWTH = 1.3
# The same for the bound of the worst neuron, which a single particle decides.
NEURON_GROWTH = 4.0
# Root mean square of the moves of the watched particles, in units of the kernel's width and of the dipoles' length.
MOST_MOTION, MOST_TURN = 0.25, 0.5
# Particles of either node set that are watched.
WATCHED = 32
# Entries of the table of e, and directions in which it is taken for three and more dimensions.
TABLE, DIRECTIONS = 256, 24


class Profile:
    """How much an expansion misses, as a function of q.

    Parameters
    ----------
    expansion : Expansion

    Attributes
    ----------
    table : ndarray, [K]
        The most that is missed up to the end of every interval of q; in the last one everything is.
    frame, centre : ndarray, [n, n] and [n]
        ``|r @ frame - centre|^2`` is the place in the table.
    """

    def __init__(self, expansion: Expansion) -> None:
        self.expansion = expansion
        t = expansion.rates
        steps = np.log(1 / t)
        weights = 2 * steps * (1 - t) / (1 + t)
        cutoff = float((expansion.degrees @ steps).max() + steps.min())
        largest = 2 * cutoff + 16
        ends = largest * np.arange(TABLE + 1) / TABLE
        u = np.sqrt(ends[:, None, None] / weights) * _directions(expansion.num_axes)  # [K + 1, directions, n]
        phi = features(expansion, u.reshape(-1, u.shape[-1]) @ expansion.rotation.T + expansion.centre)
        missed = np.nan_to_num(1 - np.einsum("pk,pk->k", phi, phi), nan=1.0).reshape(TABLE + 1, -1).max(axis=1)
        self.table = np.maximum.accumulate(np.clip(missed, np.finfo(float).tiny, 1))[1:]
        self.table[-1] = 1
        self.frame = expansion.rotation * np.sqrt(weights * TABLE / largest)
        self.centre = expansion.centre @ self.frame


def _directions(axes: int) -> np.ndarray[Any, Any]:
    """Unit vectors [directions, n] without negative components: e is even in every coordinate."""
    if axes == 1:
        return np.ones((1, 1))
    if axes == 2:
        angles = np.linspace(0, math.pi / 2, 9)
        return np.column_stack([np.cos(angles), np.sin(angles)])
    inner = np.abs(np.random.default_rng(0).standard_normal((DIRECTIONS, axes)))
    return np.concatenate([np.eye(axes), inner / np.linalg.norm(inner, axis=1, keepdims=True)])


class _Look(NamedTuple):
    """What is seen of a layer's particles."""

    bound: float  # sqrt(S_in S_out)
    neuron: float  # the larger of sqrt(e_i |v_i|^2 S_out) and sqrt(S_in e_j |v_j|^2)
    norm: float  # |W|_F of the watched particles
    moved: float  # root mean square of their moves
    turned: float  # the same of their dipoles' changes, relative to the dipoles


@dataclass(frozen=True, eq=False)
class _Constants:
    """The arrays of a test, in the library, on the device and of the dtype of a layer's."""

    frame: Array  # [n, n], transposed
    centre: Array  # [n, 1]
    table: Array
    last: Array
    ones: Array  # [n]
    dipole_ones: Array  # [d]
    rows: list[Array]  # of the watched particles
    watched: list[Array]  # their r_in, v_in, r_out and v_out
    kept: list[Array | None]  # 0 for particles that are left out, 1 for others


class Coverage:
    """What a plan was made for, and the test whether other particles are as good.

    Parameters
    ----------
    approximation : Approximation
    particles : Particles
        Those for which the plan's errors were measured.
    profile : Profile, optional
        That of the expansion, where it is known from an earlier plan.
    """

    def __init__(self, approximation: Approximation, particles: Particles, profile: Profile | None = None) -> None:
        if profile is None or profile.expansion is not approximation.expansion:
            profile = Profile(approximation.expansion)
        self.profile = profile
        self._left_out = (approximation.left_out_in, approximation.left_out_out)
        self._rows = tuple(_evenly(r.shape[0]) for r in (particles.r_in, particles.r_out))
        each = (self._rows[0], self._rows[0], self._rows[1], self._rows[1])
        self._watched = [to_numpy(a)[rows, :] for a, rows in zip(particles, each, strict=True)]  # copies
        self._lengths = [max(float(np.linalg.norm(v)), math.ulp(0)) for v in self._watched[1::2]]
        self._known: dict[object, _Constants] = {}
        self._first = self._look(particles)

    def holds(self, particles: Particles) -> bool:
        """Whether the plan keeps its tolerance, but for the factor `GROWTH`, for these particles of the same layer."""
        return self.distance(particles) < math.inf

    def distance(self, particles: Particles) -> float:
        """How far the watched particles have moved; infinite where the plan does not hold."""
        now, first = self._look(particles), self._first
        # Written so that NaN fails.
        if not (
            now.norm > 0
            and now.bound * first.norm <= GROWTH * first.bound * now.norm
            and now.neuron * first.norm <= NEURON_GROWTH * first.neuron * now.norm
        ):
            return math.inf
        return now.moved + now.turned if now.moved <= MOST_MOTION and now.turned <= MOST_TURN else math.inf

    def _look(self, particles: Particles) -> _Look:
        constants = self._constants(particles)
        xp, (rows_in, rows_out) = namespace_of(particles.r_in), constants.rows
        each = (rows_in, rows_in, rows_out, rows_out)
        watched = [xp.take(a, rows, axis=0) for a, rows in zip(particles, each, strict=True)]
        r_in, v_in, r_out, v_out = watched
        with np.errstate(all="ignore"):  # of what is not finite the result tells
            difference = r_in[:, None, :] - r_out[None, :, :]
            weights = (v_in @ xp.matrix_transpose(v_out)) * xp.exp(-((difference * difference) @ constants.ones))
            changes = [a - b for a, b in zip(watched, constants.watched, strict=True)]
            seen = [
                *_missed(constants, particles.r_in, particles.v_in, constants.kept[0]),
                *_missed(constants, particles.r_out, particles.v_out, constants.kept[1]),
                xp.sum(weights * weights),
                *(xp.sum(change * change) for change in changes),
            ]
            sum_in, worst_in, sum_out, worst_out, norm, moved_in, turned_in, moved_out, turned_out = map(
                math.sqrt, _read(seen)
            )
        length_in, length_out = self._lengths
        return _Look(
            bound=sum_in * sum_out,
            neuron=max(worst_in * sum_out, sum_in * worst_out),
            norm=norm,
            moved=max(moved_in / math.sqrt(r_in.shape[0]), moved_out / math.sqrt(r_out.shape[0])),
            turned=max(turned_in / length_in, turned_out / length_out),
        )

    def _constants(self, particles: Particles) -> _Constants:
        like = particles.r_in
        xp, device = namespace_of(like), compat.device(like)
        key = (type(like), like.dtype, device)
        if key in self._known:
            return self._known[key]

        def constant(values: np.ndarray[Any, Any]) -> Array:
            return xp.asarray(np.ascontiguousarray(values), dtype=like.dtype, device=device)

        def kept(count: int, left_out: np.ndarray[Any, Any]) -> Array | None:
            if not len(left_out):
                return None
            mask = np.ones(count)
            mask[left_out] = 0
            return constant(mask)

        profile = self.profile
        self._known[key] = _Constants(
            frame=constant(profile.frame.T),
            centre=constant(profile.centre[:, None]),
            table=constant(profile.table),
            last=constant(np.array(TABLE - 1.0)),
            ones=constant(np.ones(like.shape[1])),
            dipole_ones=constant(np.ones(particles.v_in.shape[1])),
            rows=[xp.asarray(rows, device=device) for rows in self._rows],
            watched=[constant(a) for a in self._watched],
            kept=[kept(r.shape[0], left) for r, left in zip(particles[::2], self._left_out, strict=True)],
        )
        return self._known[key]


def _evenly(count: int) -> np.ndarray[Any, Any]:
    """Rows of the watched particles of a node set."""
    return np.unique(np.linspace(0, count - 1, min(count, WATCHED)).astype(np.int64))


def _missed(constants: _Constants, r: Array, v: Array, kept: Array | None) -> tuple[Array, Array]:
    """S of one node set and the largest of its terms; NaN where a particle is."""
    xp = namespace_of(r)
    # Coordinates in rows, a product for the dipoles: sums over a row's few components take ten times as long.
    u = constants.frame @ xp.matrix_transpose(r) - constants.centre  # [n, N]
    place = xp.sum(u * u, axis=0)
    # NaN must not become an index, nor be lost.
    e = xp.take(constants.table, xp.astype(xp.where(place < TABLE - 1, place, constants.last), xp.int64))
    length = (v * v) @ constants.dipole_ones
    if kept is not None:
        length = length * kept
    terms = e * length
    return xp.sum(terms) + 0 * xp.sum(place), xp.max(terms)


def _read(scalars: list[Array]) -> list[float]:
    """Scalars of any library, in one transfer from a device."""
    if isinstance(scalars[0], np.generic | np.ndarray):
        return [float(scalar) for scalar in scalars]
    return [float(value) for value in to_numpy(namespace_of(scalars[0]).stack(scalars))]
