"""The kernels' arithmetic and indexing: the .cu files, run on the CPU by the shim, against the float64 oracle."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pn_gpu.kernels import potentials
from pn_gpu.kernels.cuda import launch
from pn_gpu.kernels.room import OperatorGradient
from support import oracle
from support.cuda_shim import ShimRuntime, store, widen

DTYPES = ("float32", "float64", "float16", "bfloat16")
UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-11, "bfloat16": 2.0**-8}
# Sums of up to a few hundred float32 or float64 terms: a handful of roundings of the largest partial sum.
TOLERANCE = {"float32": 1e-6, "float64": 2e-15}

# B, N, M: every forward tile, whole and ragged, split sums and single blocks, rows that are and are not aligned.
SHAPES = (
    (1, 1, 1),
    (2, 300, 37),
    (4, 64, 256),
    (3, 5, 2200),  # more tiles across than slabs
    (9, 700, 2),
    (16, 257, 129),
    (33, 130, 67),
    (64, 96, 128),
    (100, 136, 71),
    (130, 72, 264),
)


def stored(case: oracle.Case, dtype: str) -> tuple[oracle.Case, oracle.Case]:
    """The case in a dtype, and the same numbers in float64."""
    low = oracle.Case(*(store(a, dtype) for a in case))
    return low, oracle.Case(*(widen(a) for a in low))


def run_forward(runtime: ShimRuntime, low: oracle.Case, potential: str = "gaussian") -> np.ndarray:
    return launch.forward(runtime, low.x, *low.particles, low.bias, potentials.get(potential))


def run_backward(runtime: ShimRuntime, low: oracle.Case, potential: str = "gaussian") -> OperatorGradient:
    return launch.backward(runtime, low.dz, low.x, *low.particles, potentials.get(potential))


def product_error(x: np.ndarray, w: np.ndarray, scale: np.ndarray, dtype: str) -> float:
    """The error of x times a stored W of the dtype, summed in float32 and rounded: what 16 bits can do."""
    product = x.astype(np.float32) @ widen(store(w, dtype)).astype(np.float32)
    return oracle.scaled_error(widen(store(product, dtype)), x @ w, scale)


def check_forward(z: np.ndarray, exact: oracle.Case, dtype: str, potential: str = "gaussian") -> None:
    want, scale = oracle.forward(exact, potential), oracle.forward_scale(exact, potential)
    if dtype in TOLERANCE:
        limit = TOLERANCE[dtype]
    else:
        plain = np.abs(exact.x) @ np.abs(oracle.weight(exact, potential))
        # One more rounding than the plain product where that happens to be exact.
        limit = 2 * product_error(exact.x, oracle.weight(exact, potential), plain, dtype) + UNIT_ROUNDOFF[dtype]
    assert oracle.scaled_error(widen(z), want, scale) <= limit


def check_backward(g: OperatorGradient, exact: oracle.Case, dtype: str, potential: str = "gaussian") -> None:
    want, scale = oracle.backward(exact, potential), oracle.backward_scale(exact, potential)
    for name in g._fields:
        error = oracle.scaled_error(widen(getattr(g, name)), getattr(want, name), getattr(scale, name))
        if dtype in TOLERANCE:
            limit = TOLERANCE[dtype]
        elif name == "dx":
            w = oracle.weight(exact, potential).T
            limit = 2 * product_error(exact.dz, w, scale.dx, dtype) + UNIT_ROUNDOFF[dtype]
        else:
            # Summed in float32 throughout, rounded once.
            limit = UNIT_ROUNDOFF[dtype] + 1e-6
        assert error <= limit, name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_oracle(shim_folder: Path, dtype: str, shape: tuple[int, int, int]) -> None:
    low, exact = stored(oracle.random_case(*shape, dim=2, d=3), dtype)
    runtime = ShimRuntime(shim_folder)
    check_forward(run_forward(runtime, low), exact, dtype)
    check_backward(run_backward(runtime, low), exact, dtype)


@pytest.mark.parametrize("potential", [name for name in oracle.POTENTIALS if name != "gaussian"])
def test_every_potential(shim_folder: Path, potential: str) -> None:
    case = oracle.random_case(20, 70, 33, dim=3, d=2, spread=0.3)
    case.r_out[:5] = case.r_in[:5]  # coincident particles
    case.v_out[7] = 0
    low, exact = stored(case, "float32")
    runtime = ShimRuntime(shim_folder)
    check_forward(run_forward(runtime, low, potential), exact, "float32", potential)
    check_backward(run_backward(runtime, low, potential), exact, "float32", potential)


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
def test_a_particle_at_nan_shows(shim_folder: Path, potential: str) -> None:
    low, _ = stored(oracle.random_case(20, 70, 33, dim=3, d=2, spread=0.3), "float32")
    low.r_out[7, 1] = np.nan
    runtime = ShimRuntime(shim_folder)
    z = run_forward(runtime, low, potential)
    assert np.flatnonzero(np.isnan(z).all(axis=0)).tolist() == [7]
    assert np.isnan(z).sum() == len(z)
    gradient = run_backward(runtime, low, potential)
    assert np.isnan(gradient.dv_out).all(axis=1).nonzero()[0].tolist() == [7]
    assert all(np.isnan(g).all() for g in (gradient.dx, gradient.dr_in, gradient.dv_in))


@pytest.mark.parametrize(("dim", "d"), [(1, 1), (3, 3), (9, 8)])
def test_components(shim_folder: Path, dim: int, d: int) -> None:
    """n + d = 17 is past what is kept in shared memory."""
    low, exact = stored(oracle.random_case(70, 45, 150, dim=dim, d=d), "float32")
    runtime = ShimRuntime(shim_folder)
    check_forward(run_forward(runtime, low), exact, "float32")
    check_backward(run_backward(runtime, low), exact, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("multiprocessors", [1, 132])
def test_any_grid_and_any_order_give_the_oracle(shim_folder: Path, dtype: str, multiprocessors: int) -> None:
    """Few blocks with many tiles each, or a sum split over many blocks; threads in either order, the same bits."""
    low, exact = stored(oracle.random_case(5, 1100, 300, dim=2, d=3), dtype)
    results: list[list[np.ndarray]] = []
    for reverse in (False, True):
        runtime = ShimRuntime(shim_folder, multiprocessors, reverse)
        z, g = run_forward(runtime, low), run_backward(runtime, low)
        check_forward(z, exact, dtype)
        check_backward(g, exact, dtype)
        results.append([z, *g])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (runtime.launches[1].kernel == "reduce_partial") or multiprocessors == 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_strides(shim_folder: Path, dtype: str) -> None:
    """Rows apart, columns apart, rows backwards, all rows in one place, particles and bias in any layout."""
    low, _ = stored(oracle.random_case(24, 50, 40, dim=2, d=3), dtype)
    wide = np.repeat(np.pad(low.x, ((0, 0), (3, 5))), 2, axis=0)
    variants = {
        "rows apart": low._replace(x=wide[::2, 3:53]),
        "columns apart": low._replace(x=np.repeat(low.x, 2, axis=1)[:, ::2]),
        "transposed": low._replace(x=np.ascontiguousarray(low.x.T).T, dz=np.ascontiguousarray(low.dz.T).T),
        "rows backwards": low._replace(x=np.ascontiguousarray(low.x[::-1])[::-1]),
        "particles": low._replace(r_in=np.asfortranarray(low.r_in), v_out=np.repeat(low.v_out, 2, axis=0)[::2]),
        "one row": low._replace(dz=np.broadcast_to(low.dz[0], low.dz.shape)),
        "one number": low._replace(dz=np.broadcast_to(low.dz[0, 0], low.dz.shape)),
    }
    for name, variant in variants.items():
        runtime = ShimRuntime(shim_folder)
        exact = oracle.Case(*(widen(a) for a in variant))
        check_forward(run_forward(runtime, variant), exact, dtype)
        check_backward(run_backward(runtime, variant), exact, dtype)
        assert runtime.launches, name


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0)], ids=str)
def test_empty(shim_folder: Path, shape: tuple[int, int, int]) -> None:
    low, exact = stored(oracle.random_case(*shape, dim=2, d=3), "float32")
    runtime = ShimRuntime(shim_folder)
    np.testing.assert_array_equal(run_forward(runtime, low), oracle.forward(exact).astype(np.float32))
    check_backward(run_backward(runtime, low), exact, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_and_infinity_reach_their_rows(shim_folder: Path, dtype: str) -> None:
    low, _ = stored(oracle.random_case(20, 40, 30, dim=2, d=3), dtype)
    low.x[3, 7], low.x[5, 39], low.x[11, 0] = np.nan, np.inf, -np.inf
    z = run_forward(ShimRuntime(shim_folder), low)
    bad = np.zeros(20, bool)
    bad[[3, 5, 11]] = True
    assert np.isnan(z[3]).all()
    assert not np.isfinite(z[bad]).any()
    assert np.isfinite(z[~bad]).all()


def test_far_from_the_origin(shim_folder: Path) -> None:
    """Differences are taken as they stand, so float32 keeps its digits at |r| = 1e4."""
    case = oracle.random_case(20, 60, 50, dim=2, d=3)
    low, exact = stored(case._replace(r_in=case.r_in + 1e4, r_out=case.r_out + 1e4), "float32")
    runtime = ShimRuntime(shim_folder)
    check_forward(run_forward(runtime, low), exact, "float32")
    check_backward(run_backward(runtime, low), exact, "float32")


def test_float32_particles_with_float16_inputs(shim_folder: Path) -> None:
    case = oracle.random_case(20, 60, 50, dim=2, d=3)
    low, _ = stored(case, "float16")
    single, _ = stored(case, "float32")
    mixed = single._replace(x=low.x, dz=low.dz)
    exact = oracle.Case(*(widen(a) for a in mixed))
    runtime = ShimRuntime(shim_folder)
    check_forward(run_forward(runtime, mixed), exact, "float16")
    g = run_backward(runtime, mixed)
    assert g.dx is not None
    assert [a.dtype for a in g] == [np.float16, *[np.dtype(np.float32)] * 4, np.float16]
    check_backward(g, exact, "float16")


def test_only_what_is_needed(shim_folder: Path) -> None:
    low, _ = stored(oracle.random_case(8, 30, 20, dim=2, d=3), "float32")
    arguments = (low.dz, low.x, *low.particles, potentials.get("gaussian"))
    runtime = ShimRuntime(shim_folder)
    whole = launch.backward(runtime, *arguments)
    neither = launch.backward(runtime, *arguments, need_dx=False, need_particles=False)
    assert neither[:5] == (None,) * 5
    np.testing.assert_array_equal(neither.dbias, whole.dbias)
    no_particles = launch.backward(runtime, *arguments, need_particles=False)
    assert no_particles[1:5] == (None,) * 4
    np.testing.assert_array_equal(no_particles.dx, whole.dx)
    no_dx = launch.backward(runtime, *arguments, need_dx=False)
    assert no_dx.dx is None
    np.testing.assert_array_equal(no_dx.dr_out, whole.dr_out)
    assert launch.forward(runtime, low.x, *low.particles, None, potentials.get("gaussian")).shape == (8, 20)


def test_a_potential_of_ones_own(shim_folder: Path) -> None:
    """Singular where a padded particle would lie; the expressions are all that the kernels know of it."""
    own = dataclasses.replace(
        potentials.get("gaussian"), name="own", cuda_value="T(1) / s", cuda_derivative="T(-1) / (s * s)"
    )
    case = oracle.random_case(20, 37, 29, dim=2, d=3)
    case = case._replace(r_in=case.r_in + 5)
    low, exact = stored(case, "float32")
    s = ((exact.r_in[:, None] - exact.r_out[None]) ** 2).sum(axis=2)
    w = exact.v_in @ exact.v_out.T / s
    runtime = ShimRuntime(shim_folder)
    z = launch.forward(runtime, low.x, *low.particles, None, own)
    assert oracle.scaled_error(z, exact.x @ w, np.abs(exact.x) @ np.abs(w)) <= TOLERANCE["float32"]
    g = launch.backward(runtime, low.dz, low.x, *low.particles, own)
    want = (exact.x.T @ exact.dz / s) @ exact.v_out
    scale = (np.abs(exact.x).T @ np.abs(exact.dz) / s) @ np.abs(exact.v_out)
    assert oracle.scaled_error(g.dv_in, want, scale) <= TOLERANCE["float32"]
