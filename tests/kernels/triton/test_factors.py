"""Weights made of factors: their error, when they serve, and that the other kernel does the work where they do not.

In Triton's interpreter on CPU tensors, whose products of 16-bit numbers are exact and summed in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct, Particles  # noqa: E402
from pn_gpu.kernels.triton import launch  # noqa: E402
from pn_gpu.kernels.triton.factors import EXPONENT_ERROR, FARTHEST, Factors, make_factors  # noqa: E402
from pn_gpu.kernels.triton.potentials import BUILT_IN  # noqa: E402
from pn_gpu.kernels.triton.tables import make_tables  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    # The interpreter's own, of its scalars.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
]
GAUSSIAN = Direct(potentials.get("gaussian"))
SCALE = BUILT_IN["gaussian"].position_scale


@pytest.fixture
def factored(monkeypatch: pytest.MonkeyPatch) -> list[Factors]:
    """Layers of any size are made of factors; the list holds what was made."""
    made: list[Factors] = []

    def record(tables: Any) -> Factors:
        made.append(make_factors(tables))
        return made[-1]

    monkeypatch.setattr(launch, "LEAST_FACTORED_WEIGHTS", 1)
    monkeypatch.setattr(launch, "make_factors", record)
    return made


def check(call: Call) -> None:
    """As good as torch's own products of the dtype on a stored W."""
    z = room.forward(call.x, call.particles, call.bias, GAUSSIAN)[0]
    assert call.forward_error(z, "gaussian") <= 2 * call.dense_forward_error("gaussian")
    found = call.backward_errors(room.backward(call.dz, call.x, call.particles, GAUSSIAN), "gaussian")
    dense = call.dense_backward_errors("gaussian")
    assert {name for name, error in found.items() if error > max(3 * dense[name], 5e-7)} == set()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "dim", "d"), [((20, 70, 45), 2, 2), ((3, 300, 10), 3, 3), ((140, 33, 130), 1, 5), ((17, 64, 64), 4, 1)]
)
def test_weights_of_factors(factored: list[Factors], dtype: Any, shape: tuple[int, int, int], dim: int, d: int) -> None:
    check(Call(oracle.random_case(*shape, dim=dim, d=d), dtype))
    assert factored
    assert not any(factors.is_far.any() for factors in factored)


@pytest.mark.parametrize("spread", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_exponents_err_less_than_their_bound(dim: int, spread: float) -> None:
    case = oracle.random_case(1, 700, 300, dim=dim, spread=spread, seed=dim)
    particles = Particles(*(torch.as_tensor(a, dtype=torch.float32) for a in case.particles))
    tables = make_tables(*particles, SCALE)
    factors = make_factors(tables)
    left, right = factors.outputs.left_exponents[0, :300].numpy(), factors.inputs.right_exponents[0, :700].numpy()
    # A tensor core multiplies exactly and sums in float32, one after the other at worst.
    exponent = np.zeros((300, 700), np.float32)
    for number in range(left.shape[1]):
        exponent += np.multiply.outer(left[:, number], right[:, number], dtype=np.float32)
    r_in, r_out = (
        table[0, :dim, :size].numpy().astype(float) for table, size in ((tables.inputs, 700), (tables.outputs, 300))
    )
    exact = -((r_out[:, :, None] - r_in[:, None, :]) ** 2).sum(axis=0)
    radius = max((r_in**2).sum(axis=0).max(), (r_out**2).sum(axis=0).max())
    error = np.abs(exponent - exact).max() / radius
    print(f"n={dim}, spread {spread}: {error / EXPONENT_ERROR:.3f} of the bound")
    assert error <= EXPONENT_ERROR
    # At the farthest a weight then errs less than a float16 rounds.
    assert np.log(2) * EXPONENT_ERROR * FARTHEST.value < 2.0**-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_wide_cloud_is_computed_from_differences(factored: list[Factors], dtype: Any) -> None:
    case = oracle.random_case(20, 300, 45, dim=2)
    # Two clusters, 60 apart: squares of their distances from the centre would leave a weight no digits.
    for r in (case.r_in, case.r_out):
        r[len(r) // 2 :] += 60
    call = Call(case, dtype)
    z = room.forward(call.x, call.particles, call.bias, GAUSSIAN)[0]
    assert call.forward_error(z, "gaussian") <= 2 * call.dense_forward_error("gaussian")
    dx = room.backward(call.dz, call.x, call.particles, GAUSSIAN, need_particles=False)
    # The interpreter truncates to bfloat16, which errs twice as much as rounding.
    limit = 4 * call.dense_backward_errors("gaussian")["dx"]
    assert call.backward_errors(dx, "gaussian")["dx"] <= limit
    assert all(factors.is_far.any() for factors in factored)


def test_one_particle_decides(factored: list[Factors]) -> None:
    call = Call(oracle.random_case(20, 300, 45, dim=2), torch.float16)
    call.particles.v_out[44, 1] = float("inf")
    z = room.forward(call.x, call.particles, call.bias, GAUSSIAN)[0]
    assert not z[:, 44].isfinite().any()
    assert z[:, :44].isfinite().all()
    call.particles.v_out[44, 1] = 0
    call.particles.r_in[250, 0] = float("nan")
    assert room.forward(call.x, call.particles, call.bias, GAUSSIAN)[0].isnan().all()
    assert [int(factors.is_far.sum()) for factors in factored] == [1, 1]


@pytest.mark.parametrize("batch", [1, 16])
def test_inputs_split_over_programs(factored: list[Factors], batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    make = launch._partial_sums

    def partial_sums(z: Any, splits: int) -> Any:
        parts.append(splits)
        return make(z, splits).fill_(float("nan"))  # sums that nobody writes would show

    monkeypatch.setattr(launch, "_partial_sums", partial_sums)
    for spread in (0.5, 30.0):
        call = Call(oracle.random_case(batch, 700, 20, dim=2, spread=spread), torch.float16)
        z = room.forward(call.x, call.particles, call.bias, GAUSSIAN)[0]
        assert call.forward_error(z, "gaussian") <= 2 * call.dense_forward_error("gaussian")
    assert parts == [2, 2]
    assert [bool(factors.is_far.any()) for factors in factored] == [False, True]


def test_what_the_forward_keeps_spares_the_backward_its_tables(factored: list[Factors]) -> None:
    call = Call(oracle.random_case(5, 70, 45, dim=2), torch.float16)
    _, kept = room.forward(call.x, call.particles, call.bias, GAUSSIAN, keep=True)
    want = room.backward(call.dz, call.x, call.particles, GAUSSIAN)
    made = len(factored)
    got = room.backward(call.dz, call.x, call.particles, GAUSSIAN, residuals=kept)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert len(factored) == made == 2


def test_small_layers_strict_float32_and_other_potentials_take_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "make_factors", lambda tables: pytest.fail("made factors"))
    call = Call(oracle.random_case(3, 40, 30), torch.float16)
    room.forward(call.x, call.particles, call.bias, GAUSSIAN)
    monkeypatch.setattr(launch, "LEAST_FACTORED_WEIGHTS", 1)
    room.forward(call.x, call.particles, call.bias, Direct(potentials.get("wendland_c2")))
    for precision in ("ieee", "bf16x3"):
        room.forward(call.x.float(), call.particles, call.bias, Direct(potentials.get("gaussian"), precision))
    wide = Call(oracle.random_case(3, 40, 30, dim=5), torch.float16)
    room.forward(wide.x, wide.particles, wide.bias, GAUSSIAN)
