"""Forward and backward of the Mehler kernels against the oracle and against finite differences of
themselves."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from pn_gpu.kernels import mehler
from pn_gpu.kernels.host.slices import even_slices
from pn_gpu.kernels.host.threads import num_threads
from pn_gpu.kernels.mehler import Approximation, arrays, factor
from pn_gpu.kernels.mehler.expansion import make_expansion, rate
from pn_gpu.kernels.room import Mehler, Particles
from support import mehler as support
from support import oracle

ENOUGH = {1: 40, 2: 500, 3: 2500}


def forward(case: oracle.Case, approximation: Approximation) -> np.ndarray:
    return mehler.forward(case.x, case.particles, case.bias, Mehler(approximation))[0]


def backward(case: oracle.Case, approximation: Approximation, dx: bool = True, particles: bool = True, **options: Any):
    return mehler.backward(case.dz, case.x, case.particles, Mehler(approximation), dx, particles, **options)


LEFT_OUT = [((), ()), ((0, 7, 59), ()), ((), (3,)), ((1, 2), (0, 46))]


@pytest.mark.parametrize("left_out", LEFT_OUT)
@pytest.mark.parametrize(("dim", "d"), [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)])
def test_enough_features_are_exact(dim: int, d: int, left_out: tuple) -> None:
    case = oracle.random_case(5, 60, 47, dim, d)
    approximation = support.approximation(dim, ENOUGH[dim], *left_out)
    tolerance = {1: 1e-14, 2: 1e-12, 3: 1e-8}[dim]
    z = forward(case, approximation)
    assert oracle.scaled_error(z, oracle.forward(case), oracle.forward_scale(case)) < tolerance
    gradient = backward(case, approximation)
    for got, want, scale in zip(gradient, oracle.backward(case), oracle.backward_scale(case), strict=True):
        assert oracle.scaled_error(got, want, scale) < 10 * tolerance


@pytest.mark.parametrize("left_out", LEFT_OUT)
@pytest.mark.parametrize(("dim", "d", "features"), [(1, 2, 3), (2, 2, 6), (3, 3, 10), (2, 1, 1)])
def test_the_gradient_is_the_derivative_of_the_approximate_forward(
    dim: int, d: int, features: int, left_out: tuple
) -> None:
    case = oracle.random_case(3, 60, 47, dim, d)
    approximation = support.approximation(dim, features, *left_out)
    rng = np.random.default_rng(6)
    gradient = backward(case, approximation)._asdict()
    fields = {
        "dx": "x",
        "dr_in": "r_in",
        "dv_in": "v_in",
        "dr_out": "r_out",
        "dv_out": "v_out",
        "dbias": "bias",
    }
    # A coarse expansion is far from the exact operator, so the oracle's gradient would not pass.
    for name, field in fields.items():
        direction = rng.standard_normal(getattr(case, field).shape)

        def loss(step: float) -> float:
            moved = case._replace(**{field: getattr(case, field) + step * direction})  # noqa: B023
            return float((forward(moved, approximation) * case.dz).sum())

        h = 1e-5
        slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
        assert (gradient[name] * direction).sum() == pytest.approx(slope, rel=1e-8, abs=1e-8), name


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 1, 1), (1, 1, 700), (2, 700, 1), (7, 513, 509), (4, 1500, 1400)])
def test_shapes(shape: tuple[int, int, int]) -> None:
    case = oracle.random_case(*shape, dim=2, dtype=np.float32)
    approximation = support.approximation(2, 120)
    z = forward(case, approximation)
    assert z.dtype == np.float32
    assert oracle.scaled_error(z, oracle.forward(case), oracle.forward_scale(case)) < 1e-5
    gradient = backward(case, approximation)
    for got, want, scale in zip(gradient, oracle.backward(case), oracle.backward_scale(case), strict=True):
        assert got.dtype == np.float32
        # Of the whole array: an expansion's error does not shrink with the distance of a pair.
        assert np.linalg.norm(got - want) <= 2e-5 * np.linalg.norm(scale)


def test_no_particles_at_all() -> None:
    approximation = support.approximation(2, 10)
    case = oracle.random_case(3, 0, 4, 2)
    np.testing.assert_array_equal(forward(case, approximation), np.broadcast_to(case.bias, (3, 4)))
    gradient = backward(case, approximation)
    assert gradient.dr_in.shape == (0, 2)
    assert not gradient.dr_out.any()
    assert forward(oracle.random_case(3, 4, 0, 2), approximation).shape == (3, 0)


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("need_particles", [True, False])
def test_what_is_not_needed_is_none(need_dx: bool, need_particles: bool) -> None:
    case = oracle.random_case(3, 30, 20, 2)
    approximation = support.approximation(2, 500, (3,), (2, 9))
    gradient = backward(case, approximation, need_dx, need_particles)
    want, scale = oracle.backward(case), oracle.backward_scale(case)
    for name in gradient._fields:
        got = getattr(gradient, name)
        needed = name == "dbias" or (need_dx if name == "dx" else need_particles)
        assert (got is not None) == needed
        if needed:
            assert oracle.scaled_error(got, getattr(want, name), getattr(scale, name)) < 1e-12


def test_coincident_and_zero_particles() -> None:
    case = oracle.random_case(3, 30, 20, 2)
    case.r_out[:] = case.r_in[0]
    case.r_in[1] = case.r_in[0]
    case.v_in[2] = 0
    approximation = support.approximation(2, 500)
    for got, want in zip(backward(case, approximation), oracle.backward(case), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


def test_strided_arrays() -> None:
    case = oracle.random_case(6, 60, 40, 2)
    approximation = support.approximation(2, 30, (5,), (6,))
    odd = case._replace(
        x=np.asfortranarray(case.x),
        r_in=np.repeat(case.r_in, 2, axis=1)[:, ::2],
        dz=np.asfortranarray(case.dz),
    )
    np.testing.assert_allclose(forward(odd, approximation), forward(case, approximation), rtol=1e-12, atol=1e-12)
    flat = case._replace(dz=np.broadcast_to(np.float64(1), case.dz.shape))
    for a, b in zip(
        backward(flat, approximation),
        backward(flat._replace(dz=np.ones_like(case.dz)), approximation),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_the_same_call_twice_is_bitwise_the_same() -> None:
    case = oracle.random_case(8, 3000, 2500, 2, dtype=np.float32)
    approximation = support.approximation(2, 30, (5,), (6,))
    assert np.array_equal(forward(case, approximation), forward(case, approximation))
    for a, b in zip(backward(case, approximation), backward(case, approximation), strict=True):
        assert np.array_equal(a, b)


def test_nan_in_x_reaches_z() -> None:
    case = oracle.random_case(3, 30, 20, 2)
    case.x[1, 4] = np.nan
    z = forward(case, support.approximation(2, 30))
    assert np.isnan(z[1]).all()
    assert np.isfinite(z[[0, 2]]).all()


@pytest.mark.parametrize("budget", [1, 100_000])
def test_a_small_budget_changes_nothing(budget: int, monkeypatch) -> None:
    case = oracle.random_case(4, 150, 130, 2)
    approximation = support.approximation(2, 30)
    want = forward(case, approximation), backward(case, approximation)
    monkeypatch.setattr(factor, "FEATURE_BUDGET", budget)
    np.testing.assert_allclose(forward(case, approximation), want[0], rtol=1e-12, atol=1e-13)
    for a, b in zip(backward(case, approximation), want[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 24])
@pytest.mark.parametrize("with_bias", [True, False])
def test_residuals_change_nothing_and_serve_twice(kept_bytes: int, with_bias: bool, monkeypatch) -> None:
    monkeypatch.setattr(factor, "KEPT_BYTES", kept_bytes)
    case = oracle.random_case(4, 900, 700, 2)
    approximation = support.approximation(2, 30, (5, 400), (6,))
    bias = case.bias if with_bias else None
    arguments = (case.x, case.particles, bias, Mehler(approximation))
    z, residuals = mehler.forward(*arguments, keep=True)
    assert residuals.inputs.keeps == (kept_bytes > 0)
    unkept, nothing = mehler.forward(*arguments)
    assert nothing is None
    np.testing.assert_array_equal(z, unkept)
    want = backward(case, approximation)
    for _ in range(2):
        for a, b in zip(backward(case, approximation, residuals=residuals), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    dx = backward(case, approximation, True, False, residuals=residuals).dx
    np.testing.assert_allclose(dx, want.dx, rtol=1e-12, atol=1e-12)


def test_kept_blocks_are_not_made_again(monkeypatch) -> None:
    case = oracle.random_case(4, 900, 700, 2)
    approximation = support.approximation(2, 30)
    _, residuals = mehler.forward(case.x, case.particles, case.bias, Mehler(approximation), keep=True)
    monkeypatch.setattr(factor.Factor, "_make", lambda *a: pytest.fail("made again"))
    backward(case, approximation, residuals=residuals)


@pytest.mark.parametrize(("length", "rows", "batch"), [(10, 3, 4), (0, 5, 4), (5000, 60, 64), (300_000, 300, 1)])
@pytest.mark.parametrize("budget", [1, 10**6, 10**9])
def test_groups_cover_a_node_set_in_blocks_within_the_budget(length: int, rows: int, batch: int, budget: int) -> None:
    library = arrays.Library(np.zeros((1, 1)), np.zeros((1, 1)))
    groups = library.groups(length, rows, 2 * rows, batch, budget)
    blocks = [block for group in groups for block in group]
    assert [k for block in blocks for k in range(block.start, block.stop)] == list(range(length))
    in_hand = min(len(groups), num_threads()) * max((block.stop - block.start for block in blocks), default=0)
    assert in_hand * 2 * rows * 8 <= budget or all(block.stop - block.start == 1 for block in blocks)


def test_memory_is_that_of_arguments_and_results_and_a_little() -> None:
    case = oracle.random_case(4, 200_000, 200_000, 2, dtype=np.float32)
    approximation = support.approximation(2, 30)
    beside: list[int] = []

    def measure() -> None:
        tracemalloc.start()
        z = forward(case, approximation)
        gradient = backward(case, approximation)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        beside.append(peak - z.nbytes - sum(g.nbytes for g in gradient))

    # A thread of its own: memory that threads keep from call to call counts too.
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    assert beside[0] < 50e6  # all features and rows at once would be 240 MB, W 160 GB


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_array_libraries(library: str, monkeypatch) -> None:
    xp = pytest.importorskip(library)
    case = oracle.random_case(4, 60, 47, 2, dtype=np.float32)
    approximation = support.approximation(2, 30, (3, 50), (1,))
    x, *particles, bias, dz = (xp.asarray(a) for a in (case.x, *case.particles, case.bias, case.dz))
    particles, how = Particles(*particles), Mehler(approximation)
    z, _ = mehler.forward(x, particles, bias, how)
    np.testing.assert_allclose(np.asarray(z), forward(case, approximation), rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(factor, "FEATURE_BUDGET", 20_000)
    gradient = mehler.backward(dz, x, particles, how)
    for got, want in zip(gradient, backward(case, approximation), strict=True):
        assert type(got) is type(z)
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-4, atol=1e-5)


def test_constants_go_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from the host is a launch on a GPU, and cannot be captured in a graph; nor is a row taken by four."""
    torch = pytest.importorskip("torch")
    case = oracle.random_case(4, 60, 47, 3, dtype=np.float32)
    x, *tensors, _, dz = (torch.as_tensor(a) for a in case)
    particles, how = Particles(*tensors), Mehler(support.approximation(3, 30, (3, 50), (1,)))
    sent: list[np.ndarray] = []
    constant = arrays.Library.constant
    monkeypatch.setattr(arrays.Library, "constant", lambda self, *a: sent.append(a[0]) or constant(self, *a))

    def step() -> list[Any]:
        z, residuals = mehler.forward(x, particles, None, how, keep=True)
        return [z, *mehler.backward(dz, x, particles, how, residuals=residuals)]

    first = step()
    assert sent
    sent.clear()
    taken: list[int] = []
    monkeypatch.setattr(arrays.compat.array_namespace(x), "take", lambda a, rows, axis: taken.append(1) or a[rows])
    assert all(torch.equal(a, b) for a, b in zip(first, step(), strict=True))
    assert sent == []
    assert taken == []
    step_of_float64 = mehler.forward(x.double(), Particles(*(p.double() for p in particles)), None, how)[0]
    assert sent
    assert step_of_float64.dtype == torch.float64


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_products_in_16_bits_of_features_in_32(name: str) -> None:
    torch = pytest.importorskip("torch")
    case = oracle.random_case(8, 200, 150, 2, dtype=np.float32)
    particles = Particles(*map(torch.asarray, case.particles))
    x, dz, bias = (torch.asarray(a).to(getattr(torch, name)) for a in (case.x, case.dz, case.bias))
    approximation = support.approximation(2, 60)
    z, _ = mehler.forward(x, particles, bias, Mehler(approximation))
    assert z.dtype == x.dtype
    rounded = case._replace(x=x.float().numpy(), dz=dz.float().numpy(), bias=bias.float().numpy())
    epsilon = torch.finfo(x.dtype).eps
    assert oracle.scaled_error(z.float().numpy(), oracle.forward(rounded), oracle.forward_scale(rounded)) < 2 * epsilon
    gradient = mehler.backward(dz, x, particles, Mehler(approximation))
    assert gradient.dx.dtype == x.dtype
    assert gradient.dr_in.dtype == torch.float32
    want, scale = oracle.backward(rounded), oracle.backward_scale(rounded)
    for a, b, c in zip(gradient, want, scale, strict=True):
        assert oracle.scaled_error(a.float().numpy(), b, c) < 4 * epsilon


@pytest.mark.parametrize(("length", "count"), [(10, 3), (0, 4), (8, 100), (1000, 1), (131, 4), (5, 0)])
def test_even_slices_cover_a_range_in_about_as_many_parts(length: int, count: int) -> None:
    parts = even_slices(length, count)
    assert [k for part in parts for k in range(part.start, part.stop)] == list(range(length))
    assert len(parts) <= max(count, 1)
    assert len({part.stop - part.start for part in parts[:-1]}) <= 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = oracle.random_case(64, 5000, 4500, 2)
    approximation = support.approximation(2, 60, (5, 4999), (6,))
    want = [forward(case, approximation), *backward(case, approximation)]
    monkeypatch.setattr(arrays, "num_threads", lambda: threads)
    monkeypatch.setattr(arrays, "LEAST_WORK", 1)
    monkeypatch.setattr(arrays, "BLOCK_VALUES", 1 << 16)
    for got, wanted in zip([forward(case, approximation), *backward(case, approximation)], want, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-10)


def test_a_stray_beside_a_narrow_axis() -> None:
    case = oracle.random_case(5, 400, 300, 2, dtype=np.float32)
    for r in (case.r_in, case.r_out):
        r *= np.array([4, 1e-3], np.float32)
        r[7, 1] = 2.5
    rates = np.array([rate(2.0), rate(0.0)])
    degrees = np.array([[k, 0] for k in range(60)] + [[k, 1] for k in range(50)])
    expansion = make_expansion(np.zeros(2), np.eye(2), rates, degrees)
    stray = np.array([7])
    approximation = Approximation(expansion, stray, stray)
    z = forward(case, approximation)
    assert np.linalg.norm(z - oracle.forward(case)) < 1e-4 * np.linalg.norm(oracle.forward(case))
    kept = Approximation(expansion)
    assert np.isfinite(forward(case, kept)).all()
    assert all(np.isfinite(g).all() for g in backward(case, kept))
