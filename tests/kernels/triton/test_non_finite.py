"""NaN and inf pass through the Triton kernels as through a stored W, in Triton's interpreter on CPU tensors."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct  # noqa: E402
from pn_gpu.kernels.triton.rows import aligned_rows  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    # The interpreter's own, of its scalars.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
]

PRECISIONS = [(torch.float32, "ieee"), (torch.float32, "bf16x3"), (torch.float16, None), (torch.float64, None)]


@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS)
@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_infinity_keeps_its_sign(dtype: Any, precision: str | None, value: float) -> None:
    call = Call(oracle.random_case(5, 40, 20, dim=2, spread=0.3), dtype)
    call.x[3, 7] = value
    how = Direct(potentials.get("gaussian"), precision)
    z = room.forward(call.x, call.particles, call.bias, how)[0]
    weight = torch.as_tensor(oracle.weight(call.case))
    assert torch.equal(z[3].double(), torch.sign(weight[7]) * value)
    call.dz[2, 11] = value
    dx = room.backward(call.dz, call.x, call.particles, how).dx
    assert torch.equal(dx[2].double(), torch.sign(weight[:, 11]) * value)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), torch.finfo(torch.float32).max])
def test_halves_of_an_infinity_meet_one_half_of_a_weight(value: float) -> None:
    """Where weights are rounded to nearest, as on a GPU, both their halves times an infinity would make inf - inf.

    The largest float32 is an infinity in bfloat16.
    """
    call = Call(oracle.random_case(5, 40, 20, dim=2, spread=0.3), torch.float32)
    call.x[3, 7] = value
    rows = aligned_rows(call.x, split=True)
    high, low = (half[:, :40].float() for half in (rows.high, rows.low))
    weight = torch.as_tensor(oracle.weight(call.case)).float()
    weight_high = weight.bfloat16().float()
    weight_low = (weight - weight_high).bfloat16().float()
    z = high @ weight_high + high @ weight_low + low @ weight_high
    rounded = torch.tensor(value).bfloat16().float()
    assert torch.equal(z[3].isnan(), (weight[7] * rounded).isnan())
    assert torch.equal(z[3].nan_to_num(nan=0.0).sign(), (weight[7] * rounded).nan_to_num(nan=0.0).sign())
    assert z[[0, 1, 2, 4]].isfinite().all()


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
@pytest.mark.parametrize(("dtype", "precision"), PRECISIONS)
def test_a_particle_at_nan_shows(potential: str, dtype: Any, precision: str | None) -> None:
    call = Call(oracle.random_case(5, 20, 18, dim=2, spread=0.3), dtype)
    call.particles.r_out[7, 1] = float("nan")
    how = Direct(potentials.get(potential), precision)
    z = room.forward(call.x, call.particles, call.bias, how)[0]
    assert z.isnan().all(dim=0).nonzero().flatten().tolist() == [7]
    assert z.isnan().sum() == len(z)
    gradient = room.backward(call.dz, call.x, call.particles, how)
    assert gradient.dx.isnan().all()
    assert gradient.dv_out.isnan().all(dim=1).nonzero().flatten().tolist() == [7]
    assert gradient.dv_in.isnan().all()
    assert gradient.dr_in.isnan().all()
