"""Products of a handful of float32 and float64 rows, in Triton's interpreter on CPU tensors."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct  # noqa: E402
from pn_gpu.kernels.triton import few_rows, launch  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    # The interpreter's own, of its scalars.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
]
# Of the sum of the absolute terms, for sums of a few hundred of them.
LIMIT = {torch.float32: 1e-6, torch.float64: 2e-15}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every launch of the kernel, by its grid."""
    grids: list[tuple[int, ...]] = []
    kernel = few_rows.few_rows_kernel

    class Counted:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            grids.append(grid)
            return kernel[grid]

    monkeypatch.setattr(few_rows, "few_rows_kernel", Counted())
    monkeypatch.setattr(launch, "product_kernel", None)
    return grids


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "dim", "d", "potential"),
    [
        ((1, 70, 45), 2, 2, "gaussian"),
        ((2, 33, 130), 3, 1, "exponential"),
        ((3, 300, 10), 3, 5, "lorentzian"),
        ((4, 50, 40), 9, 10, "gaussian"),
    ],
)
def test_forward_and_dx(
    few: list[Any], dtype: Any, shape: tuple[int, int, int], dim: int, d: int, potential: str
) -> None:
    call = Call(oracle.random_case(*shape, dim=dim, d=d), dtype)
    how = Direct(potentials.get(potential), "ieee")
    z = room.forward(call.x, call.particles, call.bias, how)[0]
    assert call.forward_error(z, potential) <= LIMIT[dtype]
    dx = room.backward(call.dz, call.x, call.particles, how, need_particles=False)
    assert call.backward_errors(dx, potential)["dx"] <= LIMIT[dtype]
    assert len(few) == 2


def test_split_inputs_are_summed_with_the_bias_and_give_the_same_bits(few: list[Any]) -> None:
    call = Call(oracle.random_case(4, 900, 20, dim=2), torch.float32)
    how = Direct(potentials.get("gaussian"), "ieee")
    first, again = (room.forward(call.x, call.particles, call.bias, how)[0] for _ in range(2))
    assert call.forward_error(first, "gaussian") <= LIMIT[torch.float32]
    assert torch.equal(first, again)
    assert few[0][1] > 1


def test_nan_and_infinity_stay_in_their_row(few: list[Any]) -> None:
    call = Call(oracle.random_case(3, 60, 20, dim=2), torch.float32)
    call.x[1, 7] = float("nan")
    z = room.forward(call.x, call.particles, call.bias, Direct(potentials.get("gaussian"), "ieee"))[0]
    assert z[1].isnan().all()
    assert z[[0, 2]].isfinite().all()


def test_five_rows_take_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "launch_few_rows", None)
    call = Call(oracle.random_case(5, 40, 30, dim=2), torch.float32)
    z = room.forward(call.x, call.particles, call.bias, Direct(potentials.get("gaussian"), "ieee"))[0]
    assert call.forward_error(z, "gaussian") <= LIMIT[torch.float32]
