"""The operator on CuPy arrays, on a GPU, against the float64 oracle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.kernels import cuda, potentials
from pn_gpu.kernels.room import Direct
from support import oracle

pytestmark = pytest.mark.gpu

SHAPES = ((1, 1, 1), (2, 300, 37), (16, 257, 129), (33, 1300, 67), (100, 784, 128), (130, 72, 2640), (7, 3, 700))
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


@pytest.fixture(scope="module")
def cupy() -> Any:
    module = pytest.importorskip("cupy")
    try:
        cuda.check_available()
    except RuntimeError as error:
        pytest.skip(str(error))
    return module


def dtype_of(name: str) -> Any:
    if name != "bfloat16":
        return np.dtype(name)
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)


def on_device(cupy: Any, case: oracle.Case, dtype: str) -> tuple[oracle.Case, oracle.Case]:
    """The case on the GPU, rounded to a dtype, and the same numbers in float64 here."""
    low = [a.astype(dtype_of(dtype)) for a in case]
    return oracle.Case(*(cupy.asarray(a) for a in low)), oracle.Case(*(a.astype(np.float64) for a in low))


def forward(case: oracle.Case, potential: str = "gaussian") -> Any:
    return cuda.forward(case.x, case.particles, case.bias, Direct(potentials.get(potential)))[0]


def backward(case: oracle.Case, potential: str = "gaussian") -> Any:
    return cuda.backward(case.dz, case.x, case.particles, Direct(potentials.get(potential)))


def product_error(cupy: Any, x: np.ndarray, w: np.ndarray, dtype: str) -> float:
    """The error of CuPy's own product of the dtype on a stored W."""
    target = dtype_of(dtype)
    got = cupy.asnumpy(cupy.asarray(x.astype(target)) @ cupy.asarray(w.astype(target)))
    return oracle.scaled_error(got.astype(np.float64), x @ w, np.abs(x) @ np.abs(w))


def limit(cupy: Any, x: np.ndarray, w: np.ndarray, dtype: str) -> float:
    if dtype in TOLERANCE:
        return TOLERANCE[dtype]
    # Half as large again as one rounding where the library has no such product to compare with.
    plain = product_error(cupy, x, w, dtype) if dtype == "float16" else UNIT_ROUNDOFF[dtype]
    return 2 * plain + UNIT_ROUNDOFF[dtype]


def check(cupy: Any, low: oracle.Case, exact: oracle.Case, dtype: str, potential: str = "gaussian") -> None:
    w = oracle.weight(exact, potential)
    z = cupy.asnumpy(forward(low, potential)).astype(np.float64)
    error = oracle.scaled_error(z, oracle.forward(exact, potential), oracle.forward_scale(exact, potential))
    assert error <= limit(cupy, exact.x, w, dtype)
    got = backward(low, potential)
    want, scale = oracle.backward(exact, potential), oracle.backward_scale(exact, potential)
    for name in got._fields:
        g = cupy.asnumpy(getattr(got, name)).astype(np.float64)
        error = oracle.scaled_error(g, getattr(want, name), getattr(scale, name))
        if name == "dx":
            assert error <= limit(cupy, exact.dz, w.T, dtype), name
        else:
            assert error <= TOLERANCE.get(dtype, UNIT_ROUNDOFF.get(dtype, 0) + 2e-6), name


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_oracle(cupy: Any, dtype: str, shape: tuple[int, int, int]) -> None:
    check(cupy, *on_device(cupy, oracle.random_case(*shape, dim=2, d=3), dtype), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
def test_every_potential(cupy: Any, dtype: str, potential: str) -> None:
    case = oracle.random_case(20, 70, 33, spread=0.3)
    case.r_out[:5] = case.r_in[:5]
    check(cupy, *on_device(cupy, case, dtype), dtype, potential)


@pytest.mark.parametrize(("dim", "d"), [(1, 1), (3, 3), (9, 8), (40, 2)])
def test_components(cupy: Any, dim: int, d: int) -> None:
    check(cupy, *on_device(cupy, oracle.random_case(70, 45, 150, dim=dim, d=d), "float32"), "float32")


def test_the_same_bits_every_time(cupy: Any) -> None:
    for dtype in ("float32", "float16"):
        low, _ = on_device(cupy, oracle.random_case(100, 2000, 1500), dtype)
        first = [forward(low), *backward(low)]
        for _ in range(5):
            for a, b in zip(first, [forward(low), *backward(low)], strict=True):
                cupy.testing.assert_array_equal(a, b)


def test_strides(cupy: Any) -> None:
    low, exact = on_device(cupy, oracle.random_case(24, 50, 40), "float32")
    wide = cupy.zeros((24, 60), "float32")
    wide[:, 3:53] = low.x
    one = exact._replace(dz=np.broadcast_to(exact.dz[0], exact.dz.shape))
    check(cupy, low._replace(x=wide[:, 3:53]), exact, "float32")
    check(cupy, low._replace(x=cupy.asfortranarray(low.x), r_in=cupy.asfortranarray(low.r_in)), exact, "float32")
    check(cupy, low._replace(x=low.x[::-1].copy()[::-1]), exact, "float32")
    check(cupy, low._replace(dz=cupy.broadcast_to(low.dz[0], low.dz.shape)), one, "float32")


def test_it_runs_on_the_current_stream_and_does_not_wait(cupy: Any) -> None:
    low, exact = on_device(cupy, oracle.random_case(64, 500, 400), "float32")
    forward(low)  # compiled
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        z = forward(low)
        done = stream.record()
    done.synchronize()
    scale = oracle.forward_scale(exact)
    assert oracle.scaled_error(cupy.asnumpy(z, stream=stream), oracle.forward(exact), scale) <= TOLERANCE["float32"]


def test_it_can_be_captured_in_a_graph(cupy: Any) -> None:
    """Capture fails at the first synchronisation."""
    low, exact = on_device(cupy, oracle.random_case(64, 500, 400), "float32")
    forward(low)
    backward(low)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        z = forward(low)
        graph = stream.end_capture()
        graph.launch(stream)
    stream.synchronize()
    scale = oracle.forward_scale(exact)
    assert oracle.scaled_error(cupy.asnumpy(z), oracle.forward(exact), scale) <= TOLERANCE["float32"]


def test_memory_is_of_the_order_of_the_nodes(cupy: Any) -> None:
    size, batch = 8192, 64
    low, _ = on_device(cupy, oracle.random_case(batch, size, size), "float32")
    pool = cupy.get_default_memory_pool()
    forward(low)
    backward(low)
    pool.free_all_blocks()
    before = pool.total_bytes()
    forward(low)
    backward(low)
    assert pool.total_bytes() - before < 4 * size * size / 4


def test_more_elements_than_32_bits_count(cupy: Any) -> None:
    batch, inputs = 2**22 + 3, 520
    free, _ = cupy.cuda.runtime.memGetInfo()
    if free < 3 * 2 * batch * inputs:
        pytest.skip("too little memory")
    low, exact = on_device(cupy, oracle.random_case(4, inputs, 8), "float16")
    x = cupy.zeros((batch, inputs), "float16")
    x[-4:] = low.x
    z = forward(low._replace(x=x))
    want, scale = oracle.forward(exact), oracle.forward_scale(exact)
    assert oracle.scaled_error(cupy.asnumpy(z[-4:]).astype(float), want, scale) <= 2 * UNIT_ROUNDOFF["float16"]


def test_the_public_operator(cupy: Any) -> None:
    low, exact = on_device(cupy, oracle.random_case(6, 13, 7), "float32")
    z = pn.particle_linear(low.x.reshape(2, 3, 13), *low.particles, low.bias)
    assert isinstance(z, cupy.ndarray)
    assert z.shape == (2, 3, 7)
    error = oracle.scaled_error(cupy.asnumpy(z).reshape(6, 7), oracle.forward(exact), oracle.forward_scale(exact))
    assert error <= TOLERANCE["float32"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(2, 300, 37), (100, 784, 128), (130, 72, 264)], ids=str)
def test_sets_of_the_public_operator(cupy: Any, dtype: str, shape: tuple[int, int, int]) -> None:
    pairs = [on_device(cupy, oracle.random_case(*shape, seed=s), dtype) for s in range(5)]
    low = oracle.Case(*(cupy.stack(arrays) for arrays in zip(*(low for low, _ in pairs), strict=True)))
    z, pull_back = pn.particle_linear_vjp(low.x, *low.particles, low.bias, method="direct")
    gradient = pull_back(low.dz)
    for s, (one, exact) in enumerate(pairs):
        w = oracle.weight(exact)
        want, scale = oracle.forward(exact), oracle.forward_scale(exact)
        error = oracle.scaled_error(cupy.asnumpy(z[s]).astype(np.float64), want, scale)
        assert error <= limit(cupy, exact.x, w, dtype)
        alone = backward(one)
        for name, scale_of in oracle.backward_scale(exact)._asdict().items():
            found, other = (
                cupy.asnumpy(a).astype(np.float64) for a in (getattr(gradient, name)[s], getattr(alone, name))
            )
            # Summed in other parts than alone, and rounded once more.
            assert oracle.scaled_error(found, other, scale_of) <= UNIT_ROUNDOFF.get(dtype, 0) * 2 + TOLERANCE["float32"]


def test_the_public_operator_takes_bfloat16(cupy: Any) -> None:
    low, exact = on_device(cupy, oracle.random_case(6, 13, 7), "bfloat16")
    z = pn.particle_linear(low.x, *low.particles, low.bias)
    assert z.dtype == low.x.dtype
    error = oracle.scaled_error(cupy.asnumpy(z).astype(np.float64), oracle.forward(exact), oracle.forward_scale(exact))
    assert error <= 3 * UNIT_ROUNDOFF["bfloat16"]


def test_an_expression_that_does_not_compile(cupy: Any) -> None:
    low, _ = on_device(cupy, oracle.random_case(6, 13, 7), "float32")
    mine = dataclasses.replace(potentials.get("gaussian"), name="mine", cuda_value="exp_(-t)")
    with pytest.raises(ValueError, match=r"cuda_value of potential mine\(1\): error"):
        cuda.forward(low.x, low.particles, low.bias, Direct(mine))[0]


def test_through_triton(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    monkeypatch.setenv("PN_GPU_CUPY_TRITON", "1")
    check(cupy, *on_device(cupy, oracle.random_case(70, 145, 150), "float32"), "float32")
