"""The NumPy kernels against the float64 operator with a stored W."""

from __future__ import annotations

import numpy as np
import pytest

from pn_gpu.kernels import numpy as room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct
from support import oracle
from support.oracle import Case, random_case

# Rounding errors over sum |w x|.
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
# Near the edge of a compact support 1 - rho is small and keeps only its last digits; wendland_c2 takes its 4th power.
EDGE_FACTOR = {"triangle": 100, "wendland_c2": 100}

SHAPES = [
    (1, 1, 1),
    (1, 1, 40),
    (2, 40, 1),
    (7, 13, 31),
    (5, 1031, 3),
    (5, 3, 1031),
    (1, 521, 137),
    (67, 1103, 599),
    (1030, 11, 13),
    (0, 5, 7),
    (3, 0, 7),
    (3, 5, 0),
]


def check(case: Case, potential: str = "gaussian", tolerance: float | None = None) -> None:
    """Forward and backward within the tolerance of the oracle."""
    if tolerance is None:
        tolerance = TOLERANCE[case.x.dtype.name] * EDGE_FACTOR.get(potential, 1)
    k = potentials.get(potential)
    z = room.forward(case.x, case.particles, case.bias, Direct(k))[0]
    assert z.dtype == case.x.dtype
    tiny = np.finfo(case.x.dtype).tiny
    smallest = 100 * tiny  # below it factors are denormal and have fewer digits
    if potential == "gaussian":
        smallest = 1000 * np.sqrt(tiny) / tolerance  # each of up to 1000 weights lacks the root of tiny
    wanted, scale = oracle.forward(case, potential), oracle.forward_scale(case, potential)
    assert oracle.scaled_error(z, wanted, np.maximum(scale, smallest)) <= tolerance
    gradient = room.backward(case.dz, case.x, case.particles, Direct(k))
    wanted, scale = oracle.backward(case, potential), oracle.backward_scale(case, potential)
    for name in gradient._fields:
        got = getattr(gradient, name)
        assert got.dtype == case.x.dtype, name
        floor = np.maximum(getattr(scale, name), smallest)
        assert oracle.scaled_error(got, getattr(wanted, name), floor) <= tolerance, name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape, potential, dtype):
    check(random_case(*shape, dtype=dtype), potential)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("dim", "d"), [(1, 1), (2, 2), (2, 5), (5, 1), (8, 8)])
def test_dimensions(dim, d, dtype):
    check(random_case(9, 70, 50, dim, d, dtype=dtype))


@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_coincident_particles(dtype, potential):
    case = random_case(6, 60, 60, dtype=dtype, spread=0.2)  # so near that no potential's support ends between
    case.r_out[:] = case.r_in
    case.r_in[:5] = case.r_in[0]
    check(case, potential)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthogonal_and_zero_dipoles(dtype):
    case = random_case(6, 30, 20, dtype=dtype)
    case.v_in[:] = [1, 0, 0]
    case.v_out[:10] = [0, 1, 0]
    case.v_out[10:] = 0
    check(case)
    assert not room.forward(case.x, case.particles, None, Direct(potentials.get("gaussian")))[0].any()


@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_node_sets_100_apart(dtype, potential):
    case = random_case(6, 40, 30, dtype=dtype)
    case.r_out[:] += np.asarray([100, 0, 0], dtype)
    check(case, potential)


@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_from_the_origin(dtype, potential):
    case = random_case(6, 600, 30, dtype=dtype)
    case.r_in[:] += np.asarray(1e4, dtype)
    case.r_out[:] += np.asarray(1e4, dtype)
    check(case, potential)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_clusters_far_apart_keep_their_digits(dtype):
    case = random_case(6, 60, 40, dtype=dtype)
    for positions in (case.r_in, case.r_out):
        positions[::2] += np.asarray(1e4, dtype)
    check(case)


def test_position_spread_of_trained_networks():
    # |r| up to 5 or 6: the expanded squares err by up to about 100 epsilons there.
    check(random_case(64, 700, 500, dtype="float32", spread=1.6), tolerance=3e-5)


@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
def test_wide_clouds_keep_their_digits(potential):
    case = random_case(64, 700, 500, dtype="float32", spread=5.0)  # |r| up to 20, where tables are of float64
    case.r_out[:300] = case.r_in[:300] + case.r_out[:300] / 5  # far out, but near another
    # Position gradients are differences of sums of terms of size |r|: 100 epsilons.
    check(case, potential, tolerance=1.2e-5 * EDGE_FACTOR.get(potential, 1))


def _broadcast(a: np.ndarray) -> np.ndarray:
    return np.broadcast_to(a[:1], a.shape)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "every second column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed rows": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "reversed columns": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "stride 0": _broadcast,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("potential", ["gaussian", "exponential"])
def test_layouts(layout, potential):
    change = LAYOUTS[layout]
    case = Case(*(change(a) for a in random_case(9, 530, 150)))
    check(case, potential)


def test_scalar_upstream_gradient():
    case = random_case(9, 53, 41)
    check(case._replace(dz=np.broadcast_to(np.float64(0.5), case.dz.shape)))


def test_read_only_arrays_stay_as_they_are():
    case = random_case(4, 30, 20)
    before = [a.copy() for a in case]
    for a in case:
        a.flags.writeable = False
    check(case)
    for a, b in zip(case, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_beyond_one_batch_tile():
    check(random_case(2500, 40, 30, dtype="float32"))


@pytest.mark.parametrize("need_dx", [False, True])
@pytest.mark.parametrize("need_particles", [False, True])
@pytest.mark.parametrize("potential", ["gaussian", "lorentzian", "triangle"])
def test_only_what_is_needed(need_dx, need_particles, potential):
    case = random_case(20, 600, 300)
    everything = room.backward(case.dz, case.x, case.particles, Direct(potentials.get(potential)))
    part = room.backward(case.dz, case.x, case.particles, Direct(potentials.get(potential)), need_dx, need_particles)
    for name in part._fields:
        if name == "dbias" or (need_dx if name == "dx" else need_particles):
            np.testing.assert_array_equal(getattr(part, name), getattr(everything, name))
        else:
            assert getattr(part, name) is None, name
