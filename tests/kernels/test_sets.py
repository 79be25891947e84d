"""The room above the others that takes sets: which calls it makes of them, and what sets share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pn_gpu.kernels import numpy as numpy_room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, OperatorGradient, Particles
from pn_gpu.kernels.sets import SetsRoom

GAUSSIAN = Direct(potentials.get("gaussian"))
LORENTZIAN = Direct(potentials.get("lorentzian"))


def layers(num_sets: int) -> tuple[np.ndarray, Particles, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(4, 6), (6, 2), (6, 3), (5, 2), (5, 3), (5,), (4, 5)]
    x, *particles, bias, dz = (rng.standard_normal((num_sets, *shape)) for shape in shapes)
    return x, Particles(*particles), bias, dz


class Recorder:
    """A room that only counts: the dimensions of x of every call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def forward(self, x: Any, particles: Particles, bias: Any, how: Any, keep: bool = False) -> tuple[Any, None]:
        self.calls.append(x.ndim)
        return np.zeros((*x.shape[:-1], particles.r_out.shape[-2])), None

    def backward(self, dz: Any, x: Any, particles: Particles, *_: Any) -> OperatorGradient:
        self.calls.append(x.ndim)
        return OperatorGradient(x, *particles, dz.sum(-2))


@pytest.mark.parametrize(
    ("on_host", "how", "dimensions"),
    [
        (False, (GAUSSIAN,) * 3, [3]),
        (False, (Direct(potentials.get("gaussian")),) * 3, [3]),
        (False, (GAUSSIAN, LORENTZIAN, GAUSSIAN), [2] * 3),
        (False, ("another method",) * 3, [2] * 3),
        (True, (GAUSSIAN,) * 3, [2] * 3),
    ],
)
def test_a_gpu_takes_all_sets_that_are_computed_alike_at_once(
    on_host: bool, how: tuple[Any, ...], dimensions: list[int]
) -> None:
    recorder = Recorder()
    room = SetsRoom(lambda _: recorder, on_host)
    x, particles, bias, dz = layers(3)
    z, residuals = room.forward(x, particles, bias, how)
    assert z.shape == (3, 4, 5)
    assert recorder.calls == dimensions
    room.backward(dz, x, particles, how, residuals=residuals)
    assert recorder.calls == 2 * dimensions


@pytest.mark.parametrize(
    "names", [("x",), ("r_in", "v_in"), ("v_out",), ("bias",), ("x", *Particles._fields), ()], ids=str
)
@pytest.mark.parametrize("num_sets", [1, 3])
def test_a_dimension_of_1_is_shared_and_its_gradients_summed(names: tuple[str, ...], num_sets: int) -> None:
    x, particles, bias, dz = layers(num_sets)
    given = {"x": x, **particles._asdict(), "bias": bias}
    one = {name: a[:1] if name in names else a for name, a in given.items()}
    every = {name: np.repeat(a, num_sets // len(a), axis=0) for name, a in one.items()}
    room, how = SetsRoom(lambda _: numpy_room, on_host=True), (GAUSSIAN,) * num_sets

    def run(x: Any, bias: Any, **particles: Any) -> tuple[Any, OperatorGradient]:
        nodes = Particles(**particles)
        z, residuals = room.forward(x, nodes, bias, how, keep=True)
        return z, room.backward(dz, x, nodes, how, residuals=residuals)

    (z, found), (want_z, wanted) = run(**one), run(**every)
    np.testing.assert_array_equal(z, want_z)
    for name, g, want in zip(given, found, wanted, strict=True):
        if name in names and name != "bias":  # whose sharing a backward is not told
            want = want.sum(0, keepdims=True)
        assert g.shape == want.shape
        np.testing.assert_allclose(g, want, rtol=1e-13, atol=1e-14)
