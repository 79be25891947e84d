"""Costs are those of the numbers that a GPU computes in: the dtype of x, autocast's, and how float32 is multiplied."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")

import pn_gpu as pn  # noqa: E402
from pn_gpu.kernels.room import Direct, Particles  # noqa: E402
from pn_gpu.kernels.staging import Planned  # noqa: E402
from pn_gpu.nn import ParticleLinear  # noqa: E402
from pn_gpu.planning import arithmetic, calibration, recent  # noqa: E402
from support.clouds import FAVOUR_DIRECT, FAVOUR_MEHLER  # noqa: E402

SIZE, BATCH = 600, 4


class Played(NamedTuple):
    """What was measured on the played GPU, and where it was kept."""

    timed: list[tuple[Any, Any, str | None]]  # dtypes of x and of the particles, precision of direct
    kept: Callable[[], list[str]]


@pytest.fixture
def gpu(monkeypatch, tmp_path) -> Played:
    """Tensors of the CPU lie on a GPU, as far as planning knows; nothing is timed."""
    for module in (arithmetic, calibration):
        monkeypatch.setattr(module, "is_on_gpu", lambda a: isinstance(a, torch.Tensor))
    monkeypatch.setattr(calibration, "_gpu_name", lambda like: "played")
    monkeypatch.delenv("PN_GPU_COSTS")
    monkeypatch.setenv("PN_GPU_CACHE", str(tmp_path))
    for name in ("DIRECT_WIDTH", "MEHLER_WIDTH"):
        monkeypatch.setattr(calibration, name, {"gpu": 64})
    recent.forget()
    timed: list[tuple[Any, Any, str | None]] = []

    def time_step(like, numbers, width, batch, how):
        x, dz, particles = calibration._problem(like, numbers, width, batch)
        assert dz.dtype == x.dtype
        timed.append((x.dtype, particles.v_out.dtype, how.precision if isinstance(how, Direct) else None))
        return 1e-9

    monkeypatch.setattr(calibration, "_time_step", time_step)
    return Played(timed, lambda: list(json.loads((tmp_path / "costs.json").read_text())))


def call_layer(x, precision):
    ParticleLinear(SIZE, SIZE, dim=2, input_precision=precision)(x)


def call_staged_layer(x, precision):
    layer = ParticleLinear(SIZE, SIZE, dim=2)
    particles = Particles(*layer.in_particles(), *layer.out_particles())
    layer._chooser.choose(x, particles, Planned(0, "gaussian", precision, "auto", 1e-3))


CALLS = [call_layer, call_staged_layer]
NUMBERS = {
    "float32": (torch.float32, None, "highest", torch.float32),
    "bfloat16": (torch.bfloat16, None, "highest", torch.bfloat16),
    "float16": (torch.float16, None, "highest", torch.float16),
    "autocast": (torch.float32, None, "highest", torch.bfloat16),
    "tf32": (torch.float32, "tf32", "highest", torch.float32),
    "bf16x3": (torch.float32, "bf16x3", "highest", torch.float32),
    "setting": (torch.float32, None, "medium", torch.float32),
}


def run(call, name: str):
    """Call with the numbers of that name; the dtype they stand for."""
    dtype, precision, setting, computed = NUMBERS[name]
    x = torch.zeros(BATCH, SIZE, dtype=dtype)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "autocast"):
            call(x, precision)
    finally:
        torch.set_float32_matmul_precision(before)
    return computed, precision


@pytest.mark.parametrize("call", CALLS)
def test_every_kind_of_numbers_has_costs_of_its_own(gpu: Played, call) -> None:
    for name in NUMBERS:
        computed, precision = run(call, name)
        known = name == "autocast"  # those of bfloat16
        assert set(gpu.timed) == (set() if known else {(computed, torch.float32, p) for p in (precision, None)})
        gpu.timed.clear()
    keys = gpu.kept()
    assert len(keys) == len(set(keys)) == len(NUMBERS) - 1
    assert all("played float32 with " in key for key in keys)


def test_a_call_of_the_operator_is_priced_by_its_inputs(gpu: Played) -> None:
    particles = [torch.randn(SIZE, 2) for _ in range(4)]
    for name in ("float32", "bfloat16", "autocast"):
        run(lambda x, _: pn.particle_linear(x, *particles), name)
    assert [key.rpartition(" with ")[2] for key in gpu.kept()] == ["float32 highest", "bfloat16"]
    pn.plan(*particles, dtype="bfloat16")
    pn.plan(*particles, dtype=torch.bfloat16)
    assert len(gpu.kept()) == 2
    pn.plan(*particles, dtype=torch.float16)
    assert gpu.kept()[2].endswith(" with float16")


def test_a_plan_in_use_is_followed_by_its_own_costs(gpu: Played, monkeypatch) -> None:
    """A check of moved particles asks what the call costs that is planned, not what the particles' dtype would."""
    asked = []

    def machine_costs(like, numbers=None):
        asked.append(numbers)
        return FAVOUR_MEHLER

    for module in ("decision", "planner"):
        monkeypatch.setattr(f"pn_gpu.planning.{module}.machine_costs", machine_costs)
    planner = pn.MethodPlanner(interval=1)
    particles = [0.3 * torch.randn(SIZE, 2) for _ in range(4)]
    assert planner.plan(BATCH, *particles, dtype=torch.bfloat16).method == "mehler"
    planner._left = 0  # a check is due
    assert planner.plan(BATCH, *particles, dtype=torch.float16, input_precision="tf32").method == "mehler"
    assert asked == [arithmetic.Arithmetic("bfloat16"), arithmetic.Arithmetic("float16", "tf32")]


def test_on_a_cpu_numbers_are_those_of_the_particles(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        "pn_gpu.planning.decision.machine_costs",
        lambda like, numbers=None: asked.append(numbers) or FAVOUR_DIRECT,
    )
    particles = [torch.randn(SIZE, 2) for _ in range(4)]
    recent.forget()
    pn.particle_linear(torch.zeros(BATCH, SIZE, dtype=torch.bfloat16), *particles)
    pn.plan(*particles, dtype="bfloat16")
    recent.forget()
    assert asked == [None, None]


@pytest.mark.parametrize("dtype", ["int8", torch.int32, 3])
def test_a_wrong_dtype_is_named(dtype) -> None:
    particles = [torch.randn(3, 2) for _ in range(4)]
    with pytest.raises(ValueError, match=r"dtype: got '.*', want one of float16, bfloat16, float32, float64"):
        pn.plan(*particles, dtype=dtype)
