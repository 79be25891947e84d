"""Many layers of one shape in one call: a room above the others, which takes every array stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import add
from typing import Any

from pn_gpu.kernels.host.threads import SERIAL_WORK, at_most, parallel_map
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.numpy.tiles import layer_work
from pn_gpu.kernels.room import Array, Direct, How, OperatorGradient, Particles, Residuals, Room


class SetsRoom:
    """A room for x [S, B, N], particles [S, N, n], [S, N, d], ... and a bias [S, M]: S layers, a ``how`` for each.

    Of x, the particles and the bias any may have 1 set that all share; its gradient is the sum over the sets, in their
    order.

    On a GPU the rooms of `Direct` take all sets at once: a launch of each kernel. Layers by the Mehler method, which
    are as many expansions, are computed one after the other; so are the layers of the CPU, where those too small for
    several threads are the tasks of the threads.

    Parameters
    ----------
    room_of : callable
        ``room_of(how)``: the room of one layer, and on a GPU with `Direct` of several.
    on_host : bool
        Whether the arrays are NumPy's.
    """

    def __init__(self, room_of: Callable[[How], Room], on_host: bool) -> None:
        self._room_of, self._on_host = room_of, on_host

    def forward(
        self, x: Array, particles: Particles, bias: Array | None, how: Sequence[How], keep: bool = False
    ) -> tuple[Array, Residuals]:
        """z [S, B, M], and what the sets leave to their backward."""
        if self._takes_all(how):
            return self._room_of(how[0]).forward(x, particles, bias, how[0], keep)

        def one(s: int) -> tuple[Array, Residuals]:
            bias_of_set = None if bias is None else of_set(bias, s)
            return self._room_of(how[s]).forward(of_set(x, s), select_set(particles, s), bias_of_set, how[s], keep)

        results = self._map(one, len(how), x, particles)
        shape = (len(how), x.shape[1], particles.r_out.shape[1])
        return _stack([z for z, _ in results], shape, x), [residuals for _, residuals in results]

    def backward(
        self,
        dz: Array,
        x: Array,
        particles: Particles,
        how: Sequence[How],
        need_dx: bool = True,
        need_particles: bool = True,
        residuals: Residuals | None = None,
    ) -> OperatorGradient:
        """Gradients of every set, stacked, or their sum where the sets share; dbias is always that of every set."""
        if self._takes_all(how):
            return self._room_of(how[0]).backward(dz, x, particles, how[0], need_dx, need_particles, residuals)

        def one(s: int) -> OperatorGradient:
            kept = None if residuals is None else residuals[s]
            room = self._room_of(how[s])
            nodes = select_set(particles, s)
            return room.backward(dz[s, ...], of_set(x, s), nodes, how[s], need_dx, need_particles, kept)

        results = self._map(one, len(how), x, particles)
        wanted = (need_dx, *[need_particles] * 4, True)
        likes = (x, *particles, particles.r_out)
        shapes = (*(like.shape for like in likes[:-1]), (len(how), particles.r_out.shape[1]))
        return OperatorGradient._make(
            _stack([result[k] for result in results], shapes[k], likes[k]) if wanted[k] else None for k in range(6)
        )

    def _takes_all(self, how: Sequence[How]) -> bool:
        """Whether the room of the layers takes all of them at once."""
        return not self._on_host and len(how) > 0 and isinstance(how[0], Direct) and all(h == how[0] for h in how)

    def _map(self, one: Callable[[int], Any], count: int, x: Array, particles: Particles) -> list[Any]:
        _, batch, num_in = x.shape
        work = layer_work(batch, num_in, particles.r_out.shape[1])
        if not self._on_host or work >= SERIAL_WORK or count * work < SERIAL_WORK:
            return [one(s) for s in range(count)]

        def on_one_thread(s: int) -> Any:
            with at_most(1):
                return one(s)

        return parallel_map(on_one_thread, range(count), count * work)


def num_sets(x: Array, *others: Array | None) -> int:
    """How many sets x [B, N], or [S, B, N], and the other arrays of a call have; one may have 1 that all share."""
    if x.ndim == 2:
        return 1
    return next((a.shape[0] for a in (x, *others) if a is not None and a.shape[0] != 1), 1)


def of_set(a: Array, s: int) -> Array:
    """A stacked array's part of one set: its own, or the one that all sets share."""
    return a[s if a.shape[0] > 1 else 0, ...]


def select_set(particles: Iterable[Array], s: int) -> Particles:
    """The particles of one set."""
    return Particles(*(of_set(p, s) for p in particles))


def _stack(parts: list[Array], shape: tuple[int, ...], like: Array) -> Array:
    """The parts of all sets [S, ...], or where ``shape`` has 1 set their sum."""
    xp = namespace_of(like)
    if not parts:
        return xp.zeros(shape, dtype=like.dtype, device=like.device)
    return xp.stack([reduce(add, parts)] if shape[0] == 1 else parts)
