"""Several sets in one launch of every kernel: the .cu files, run on the CPU by the shim, beside each set's oracle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pn_gpu.kernels import potentials
from pn_gpu.kernels.cuda import launch, tiles
from pn_gpu.kernels.room import OperatorGradient, Particles
from support import oracle
from support.cuda_shim import RecordingRuntime, ShimRuntime, store, widen

GAUSSIAN = potentials.get("gaussian")
# As of a call of its own: 16-bit results are rounded once, all sums are float32 or float64.
TOLERANCE = {"float32": 1e-6, "float64": 2e-15, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def make(sets: int, shape: tuple[int, int, int], dtype: str, **options: object) -> tuple[oracle.Case, oracle.Case]:
    """Cases of one shape side by side in a dtype, and the same numbers in float64."""
    cases = [oracle.random_case(*shape, dim=2, d=3, seed=s, **options) for s in range(sets)]
    low = oracle.Case(*(store(np.stack(arrays), dtype) for arrays in zip(*cases, strict=True)))
    return low, oracle.Case(*(widen(a) for a in low))


def forward(runtime: ShimRuntime, low: oracle.Case) -> np.ndarray:
    return launch.forward(runtime, low.x, *low.particles, low.bias, GAUSSIAN)


def backward(runtime: ShimRuntime, low: oracle.Case) -> OperatorGradient:
    return launch.backward(runtime, low.dz, low.x, *low.particles, GAUSSIAN)


def check(z: np.ndarray, g: OperatorGradient, exact: oracle.Case, dtype: str) -> None:
    for s in range(len(z)):
        one = oracle.Case(*(a[s] for a in exact))
        assert oracle.scaled_error(widen(z[s]), oracle.forward(one), oracle.forward_scale(one)) <= TOLERANCE[dtype]
        want, scale = oracle.backward(one), oracle.backward_scale(one)
        for name in g._fields:
            error = oracle.scaled_error(widen(getattr(g, name)[s]), getattr(want, name), getattr(scale, name))
            assert error <= TOLERANCE[dtype], (s, name)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(
    ("sets", "shape"),
    [(1, (3, 5, 4)), (3, (2, 300, 37)), (2, (16, 257, 129)), (5, (33, 30, 67)), (2, (130, 72, 264)), (40, (3, 7, 5))],
)
def test_agree_with_the_oracle(shim_folder: Path, dtype: str, sets: int, shape: tuple[int, int, int]) -> None:
    low, exact = make(sets, shape, dtype)
    runtime = ShimRuntime(shim_folder)
    check(forward(runtime, low), backward(runtime, low), exact, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("multiprocessors", [1, 132])
def test_any_grid_and_any_order(shim_folder: Path, dtype: str, multiprocessors: int) -> None:
    """Few blocks with many tiles each, or sums split over many; blocks and threads in either order, the same bits."""
    low, exact = make(3, (5, 1100, 300), dtype)
    results: list[list[np.ndarray]] = []
    for reverse in (False, True):
        runtime = ShimRuntime(shim_folder, multiprocessors, reverse)
        z, g = forward(runtime, low), backward(runtime, low)
        check(z, g, exact, dtype)
        results.append([z, *g])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("columns", [32, 37])
def test_what_sets_share_is_read_in_place(shim_folder: Path, dtype: str, columns: int) -> None:
    """Stride 0, and every other set of an array: the bits of arrays side by side, a gradient for every set."""
    low, _ = make(3, (6, columns, 48), dtype)

    def shared(a: np.ndarray) -> np.ndarray:
        return np.broadcast_to(a[:1], a.shape)

    def every_other(a: np.ndarray) -> np.ndarray:
        return np.repeat(a, 2, axis=0)[::2]

    given = low._replace(
        r_in=shared(low.r_in), v_in=every_other(low.v_in), bias=shared(low.bias), dz=every_other(low.dz)
    )
    for x in (shared(low.x), every_other(low.x), np.ascontiguousarray(low.x.mT).mT, low.x[::-1]):
        case = given._replace(x=x)
        whole = oracle.Case(*(np.ascontiguousarray(a) for a in case))
        runtime = ShimRuntime(shim_folder)
        np.testing.assert_array_equal(forward(runtime, case), forward(runtime, whole))
        if x.strides[0] == 0:
            assert runtime.launches[0].arguments[1] == 0  # not one copy for each set
        for found, wanted in zip(backward(runtime, case), backward(runtime, whole), strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("names", [("x",), ("r_in", "v_in"), ("x", "r_out"), ("v_out", "bias"), Particles._fields])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_dimension_of_1_is_shared_and_its_gradients_summed(
    shim_folder: Path, names: tuple[str, ...], dtype: str
) -> None:
    low, _ = make(3, (6, 32, 48), dtype)
    one = low._replace(**{name: getattr(low, name)[:1] for name in names})
    every = low._replace(**{name: np.repeat(getattr(one, name), 3, axis=0) for name in names})
    runtime = ShimRuntime(shim_folder)
    np.testing.assert_array_equal(forward(runtime, one), forward(runtime, every))
    found, wanted = backward(runtime, one), backward(runtime, every)
    for name in ("x", *Particles._fields):
        g, want = getattr(found, f"d{name}"), getattr(wanted, f"d{name}")
        if name not in names:
            np.testing.assert_array_equal(g, want)
            continue
        assert g.shape == getattr(one, name).shape
        # Summed in float32 and rounded once, where the sum of the sets' gradients is rounded twice.
        rounding = 2 * TOLERANCE[dtype] * np.abs(widen(want)).sum(0)
        assert (np.abs(widen(g)[0] - widen(want).sum(0)) <= rounding).all()
    np.testing.assert_array_equal(found.dbias, wanted.dbias)


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (4, 5, 0)], ids=str)
@pytest.mark.parametrize("sets", [0, 2])
def test_empty(shim_folder: Path, sets: int, shape: tuple[int, int, int]) -> None:
    low, exact = make(max(sets, 1), shape, "float32")
    low = oracle.Case(*(a[:sets] for a in low))
    runtime = ShimRuntime(shim_folder)
    z, g = forward(runtime, low), backward(runtime, low)
    assert z.shape == (sets, shape[0], shape[2])
    assert [a.shape for a in g] == [a.shape for a in (low.x, *low.particles, low.bias)]
    check(z, g, exact, "float32")


def test_no_sets_have_a_gradient_of_zero_for_what_they_share(shim_folder: Path) -> None:
    low, _ = make(1, (3, 4, 5), "float32")
    none = oracle.Case(*(a[:0] for a in low))._replace(x=low.x, r_in=low.r_in)
    g = backward(ShimRuntime(shim_folder), none)
    np.testing.assert_array_equal(g.dx, np.zeros_like(low.x))
    np.testing.assert_array_equal(g.dr_in, np.zeros_like(low.r_in))


def recorded(sets: int, size: int) -> list[launch.Launch]:
    low, _ = make(1, (32, size, size), "float32")
    many = oracle.Case(*(np.lib.stride_tricks.as_strided(a, (sets, *a.shape[1:]), (64, *a.strides[1:])) for a in low))
    runtime = RecordingRuntime()
    forward(runtime, many)
    backward(runtime, many)
    return runtime.launches


def test_launches_do_not_grow_with_the_sets() -> None:
    few, many = (recorded(sets, 16) for sets in (2, 100_000))
    assert Counter(one.kernel for one in few) == Counter(one.kernel for one in many)
    assert [one.kernel.startswith("forward") for one in many].count(True) == 2  # z and dx
    assert all(0 < one.blocks <= tiles.MAX_BLOCKS for one in many)


def test_small_sets_fill_the_device_together() -> None:
    """Alone each is split over many blocks; 500 of them are not."""
    blocks = {sets: {one.kernel: one.blocks for one in recorded(sets, 512)} for sets in (1, 500)}
    kernel = next(name for name in blocks[1] if name.startswith("forward"))
    assert "reduce_partial" in blocks[1]
    assert blocks[500][kernel] == 500 * 4
    assert blocks[1][kernel] > 4
    assert blocks[500]["particle_gradient"] <= 2 * 500
    assert blocks[1]["particle_gradient"] == 32  # a tile each
