"""Many layers of one shape in one call: a room above the two-dimensional rooms, which takes every array stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pn_gpu.kernels.host.threads import SERIAL_WORK, at_most, parallel_map
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.kernels.numpy.tiles import layer_work
from pn_gpu.kernels.room import Array, How, OperatorGradient, Particles, Residuals, Room


class SetsRoom:
    """A room for x [S, B, N], particles [S, N, n], [S, N, d], ... and a bias [S, M]: S layers, a ``how`` for each.

    On the CPU layers too small for several threads are the tasks of the threads; any other is computed after the one
    before, which on a GPU means launches of its own.

    Parameters
    ----------
    room_of : callable
        ``room_of(how)``: the room of one layer.
    on_host : bool
        Whether the arrays are NumPy's.
    """

    def __init__(self, room_of: Callable[[How], Room], on_host: bool) -> None:
        self._room_of, self._on_host = room_of, on_host

    def forward(
        self, x: Array, particles: Particles, bias: Array | None, how: Sequence[How], keep: bool = False
    ) -> tuple[Array, list[Residuals]]:
        """z [S, B, M], and what each set leaves to its backward."""
        sets = [select_set(particles, s) for s in range(len(how))]

        def one(s: int) -> tuple[Array, Residuals]:
            return self._room_of(how[s]).forward(
                x[s, ...], sets[s], None if bias is None else bias[s, ...], how[s], keep
            )

        results = self._map(one, x, particles)
        shape = (*x.shape[:-1], particles.r_out.shape[1])
        return _stack([z for z, _ in results], shape, x), [residuals for _, residuals in results]

    def backward(
        self,
        dz: Array,
        x: Array,
        particles: Particles,
        how: Sequence[How],
        need_dx: bool = True,
        need_particles: bool = True,
        residuals: Sequence[Residuals] | None = None,
    ) -> OperatorGradient:
        """Gradients of every set, stacked."""
        sets = [select_set(particles, s) for s in range(len(how))]

        def one(s: int) -> OperatorGradient:
            kept = None if residuals is None else residuals[s]
            room = self._room_of(how[s])
            return room.backward(dz[s, ...], x[s, ...], sets[s], how[s], need_dx, need_particles, kept)

        results = self._map(one, x, particles)
        wanted = (need_dx, *[need_particles] * 4, True)
        likes = (x, *particles, particles.r_out)
        shapes = (*(like.shape for like in likes[:-1]), particles.r_out.shape[:-1])
        return OperatorGradient._make(
            _stack([result[k] for result in results], shapes[k], likes[k]) if wanted[k] else None for k in range(6)
        )

    def _map(self, one: Callable[[int], Any], x: Array, particles: Particles) -> list[Any]:
        count, batch, num_in = x.shape
        work = layer_work(batch, num_in, particles.r_out.shape[1])
        if not self._on_host or work >= SERIAL_WORK or count * work < SERIAL_WORK:
            return [one(s) for s in range(count)]

        def on_one_thread(s: int) -> Any:
            with at_most(1):
                return one(s)

        return parallel_map(on_one_thread, range(count), count * work)


def select_set(particles: Iterable[Array], s: int) -> Particles:
    """The particles of one set."""
    return Particles(*(p[s, ...] for p in particles))


def _stack(parts: list[Array], shape: tuple[int, ...], like: Array) -> Array:
    xp = namespace_of(like)
    return xp.stack(parts) if parts else xp.zeros(shape, dtype=like.dtype, device=like.device)
