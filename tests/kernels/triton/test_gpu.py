"""The Triton kernels on a GPU."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct, Particles  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call  # noqa: E402
from support.sets import make_sets  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

GAUSSIAN = potentials.get("gaussian")
# float32: rounding of weights (the base-2 exponential errs by 2 ulp) and sums; halves and tf32: of their operands.
TOLERANCE = {"ieee": 2e-6, "bf16x3": 4e-5, "tf32": 4e-3}
# Whatever the dtype of x, sums are taken in float32 at best.
FLOAT32_ERROR = 2e-6
SHAPES = [(1, 1, 1), (1, 784, 10), (16, 700, 300), (33, 131, 257), (100, 784, 128), (300, 520, 77), (5, 2000, 3)]


def errors(call: Call, potential: str, input_precision: str | None = None) -> dict[str, float]:
    function = potentials.get(potential)
    z = room.forward(call.x, call.particles, call.bias, Direct(function, input_precision))[0]
    gradient = room.backward(call.dz, call.x, call.particles, Direct(function, input_precision))
    return {"z": call.forward_error(z, potential)} | call.backward_errors(gradient, potential)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit(shape: tuple[int, int, int], dim: int, dtype: Any) -> None:
    call = Call(oracle.random_case(*shape, dim=dim), dtype, "cuda")
    found = errors(call, "gaussian")
    assert found.pop("z") <= max(2 * call.dense_forward_error("gaussian"), FLOAT32_ERROR)
    dense = call.dense_backward_errors("gaussian")
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize("batch", [3, 20, 50, 100, 300])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spread", [0.5, 20.0])
def test_16_bit_of_factors_or_where_they_would_not_do_of_differences(batch: int, dtype: Any, spread: float) -> None:
    """Layers of a million weights are made of factors, but for wide clouds, which the device finds out."""
    case = oracle.random_case(batch, 1100, 1000, dim=3, spread=spread)
    call = Call(case, dtype, "cuda")
    found = errors(call, "gaussian")
    assert found.pop("z") <= max(2 * call.dense_forward_error("gaussian"), FLOAT32_ERROR)
    dense = call.dense_backward_errors("gaussian")
    assert found["dx"] <= max(3 * dense["dx"], FLOAT32_ERROR)
    if spread < 1:
        assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize("shape", [(1, 300, 10), (33, 131, 257), (100, 784, 128), (64, 1100, 1000)])
@pytest.mark.parametrize(("dtype", "input_precision"), [(torch.bfloat16, None), (torch.float32, "ieee")])
@pytest.mark.parametrize("num_sets", [2, 7])
def test_sets(shape: tuple[int, int, int], dtype: Any, input_precision: str | None, num_sets: int) -> None:
    calls, x, particles, bias, dz = make_sets(num_sets, shape, dtype, "cuda", dim=3)
    how = Direct(GAUSSIAN, input_precision)
    z, kept = room.forward(x, particles, bias, how, keep=True)
    gradient = room.backward(dz, x, particles, how, residuals=kept)
    for s, call in enumerate(calls):
        found = {"z": call.forward_error(z[s], "gaussian")}
        found |= call.backward_errors(type(gradient)._make(g[s] for g in gradient), "gaussian")
        alone = errors(call, "gaussian", input_precision)
        assert {name for name, error in found.items() if error > max(1.5 * alone[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("input_precision", TOLERANCE)
def test_float32(shape: tuple[int, int, int], dim: int, input_precision: str) -> None:
    found = errors(Call(oracle.random_case(*shape, dim=dim), torch.float32, "cuda"), "gaussian", input_precision)
    assert max(found.values()) < TOLERANCE[input_precision], found


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
@pytest.mark.parametrize("input_precision", TOLERANCE)
def test_float32_potentials(potential: str, input_precision: str) -> None:
    call = Call(oracle.random_case(40, 200, 150, dim=2), torch.float32, "cuda")
    found = errors(call, potential, input_precision)
    assert max(found.values()) < TOLERANCE[input_precision], found


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_potentials(potential: str, dtype: Any) -> None:
    call = Call(oracle.random_case(40, 200, 150, dim=3), dtype, "cuda")
    found = errors(call, potential)
    assert found.pop("z") <= 2 * call.dense_forward_error(potential)
    dense = call.dense_backward_errors(potential)
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
@pytest.mark.parametrize("batch", [3, 20])
def test_float64(potential: str, batch: int) -> None:
    found = errors(Call(oracle.random_case(batch, 50, 70, dim=3), torch.float64, "cuda"), potential)
    assert max(found.values()) < 1e-13, found


@pytest.mark.parametrize(("dim", "d"), [(1, 4), (4, 4), (5, 2), (8, 8), (9, 12), (2, 40)])
@pytest.mark.parametrize("potential", ["gaussian", "lorentzian", "triangle"])
def test_any_dimension(dim: int, d: int, potential: str) -> None:
    call = Call(oracle.random_case(40, 150, 140, dim=dim, d=d, spread=0.2), torch.bfloat16, "cuda")
    found = errors(call, potential)
    assert found.pop("z") <= 2 * call.dense_forward_error(potential)
    dense = call.dense_backward_errors(potential)
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.bfloat16, None), (torch.float32, "ieee"), (torch.float32, "tf32")]
)
def test_same_bits_every_time(dtype: Any, precision: str | None) -> None:
    call = Call(oracle.random_case(100, 3000, 500, dim=3), dtype, "cuda")

    def run() -> list[Any]:
        z = room.forward(call.x, call.particles, call.bias, Direct(GAUSSIAN, precision))[0]
        return [z, *room.backward(call.dz, call.x, call.particles, Direct(GAUSSIAN, precision))]

    first = run()
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))


def test_graph_replay() -> None:
    call = Call(oracle.random_case(64, 300, 200, dim=2), torch.bfloat16, "cuda")

    def run() -> list[Any]:
        z = room.forward(call.x, call.particles, call.bias, Direct(GAUSSIAN))[0]
        return [z, *room.backward(call.dz, call.x, call.particles, Direct(GAUSSIAN))]

    run()  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    call.x.mul_(2)
    call.dz.mul_(0.5)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, run(), strict=True))


def test_runs_on_the_stream_of_the_caller() -> None:
    call = Call(oracle.random_case(64, 300, 200, dim=2), torch.float32, "cuda")
    want = room.forward(call.x, call.particles, None, Direct(GAUSSIAN, "ieee"))[0]
    stream = torch.cuda.Stream()
    x = torch.zeros_like(call.x)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # another stream would read x before it is filled
        x.copy_(call.x)
        z = room.forward(x, call.particles, None, Direct(GAUSSIAN, "ieee"))[0]
    stream.synchronize()
    assert torch.equal(z, want)


@pytest.mark.parametrize("layout", ["transposed", "every other", "stride 0"])
def test_strides(layout: str) -> None:
    call = Call(oracle.random_case(50, 96, 80, dim=2), torch.bfloat16, "cuda")

    def strided(a: Any) -> Any:
        if layout == "transposed":
            return a.T.contiguous().T
        if layout == "every other":
            return torch.stack((a, torch.full_like(a, float("nan"))), dim=-1).flatten(-2)[:, ::2]
        return a[:1].expand(a.shape)

    x, dz = strided(call.x), strided(call.dz)
    want = room.backward(dz.contiguous(), x.contiguous(), call.particles, Direct(GAUSSIAN))
    assert all(
        torch.equal(a, b) for a, b in zip(room.backward(dz, x, call.particles, Direct(GAUSSIAN)), want, strict=True)
    )


def test_non_finite_inputs_reach_their_outputs_and_no_others() -> None:
    call = Call(oracle.random_case(70, 131, 50, dim=2), torch.bfloat16, "cuda")
    call.x[3, 130] = float("nan")
    call.x[69, 0] = float("inf")
    z = room.forward(call.x, call.particles, call.bias, Direct(GAUSSIAN))[0]
    finite = torch.isfinite(z).all(dim=1)
    assert (~finite).nonzero().flatten().tolist() == [3, 69]


def test_memory_is_of_the_order_of_the_particles() -> None:
    size, batch = 16384, 128
    x = torch.randn(batch, size, device="cuda", dtype=torch.bfloat16)
    particles = Particles(*(torch.randn(size, 2, device="cuda") for _ in range(4)))
    room.forward(x, particles, None, Direct(GAUSSIAN))[0]
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    z = room.forward(x, particles, None, Direct(GAUSSIAN))[0]
    room.backward(z, x, particles, Direct(GAUSSIAN))
    torch.cuda.synchronize()
    # A stored W would take 512 MiB.
    assert torch.cuda.max_memory_allocated() - before < 64 * 2**20


@pytest.mark.slow
def test_more_than_2_31_elements() -> None:
    batch, n_in = 2**20 + 8, 2048 + 16
    if torch.cuda.get_device_properties(0).total_memory < 24 * 2**30:
        pytest.skip("needs 24 GiB of GPU memory")
    x = torch.zeros(batch, n_in, device="cuda", dtype=torch.bfloat16)
    small = Call(oracle.random_case(8, n_in, 16, dim=2), torch.bfloat16, "cuda")
    x[-8:] = small.x
    z = room.forward(x, small.particles, small.bias, Direct(GAUSSIAN))[0]
    assert small.forward_error(z[-8:], "gaussian") <= 2 * small.dense_forward_error("gaussian")
    dz = torch.zeros(batch, 16, device="cuda", dtype=torch.bfloat16)
    dz[-8:] = small.dz
    gradient = room.backward(dz, x, small.particles, Direct(GAUSSIAN))
    found = small.backward_errors(gradient._replace(dx=gradient.dx[-8:]), "gaussian")
    dense = small.dense_backward_errors("gaussian")
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")
def test_tensors_on_another_device_than_the_current_one() -> None:
    call = Call(oracle.random_case(20, 50, 70, dim=2), torch.float32, "cuda:1")
    assert max(errors(call, "gaussian", "ieee").values()) < TOLERANCE["ieee"]
