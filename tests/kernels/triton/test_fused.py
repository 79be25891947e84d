"""dx and the particle gradient from one pass over the weights, in Triton's interpreter on CPU tensors."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct  # noqa: E402
from pn_gpu.kernels.triton import launch, tiles  # noqa: E402
from pn_gpu.kernels.triton.fused import FusedPass  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    # The interpreter's own, of its scalars.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
]
GAUSSIAN = Direct(potentials.get("gaussian"))
# Rows, inputs, outputs, n, d: ragged tiles, several chunks of either side, and more columns than a table has room for.
SHAPES = [(1, 130, 70, 1, 1), (16, 140, 260, 2, 2), (20, 70, 45, 3, 3), (33, 140, 130, 2, 4), (64, 64, 129, 4, 2)]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[FusedPass]:
    """Layers of any size are made of factors; the list holds the passes, whose dx would show what nobody writes."""
    made: list[FusedPass] = []
    make = launch.fused_pass

    def record(*arguments: Any) -> FusedPass | None:
        fused = make(*arguments)
        if fused is not None:
            made.append(fused)
            if fused.dx is not None:
                fused.dx.fill_(float("nan"))
        return fused

    monkeypatch.setattr(launch, "LEAST_FACTORED_WEIGHTS", 1)
    monkeypatch.setattr(launch, "fused_pass", record)
    return made


def wrong(call: Call, gradient: Any) -> set[str]:
    """What errs more than torch's own products of the dtype on a stored W.

    The interpreter truncates tiles to bfloat16, which errs twice as much as rounding.
    """
    found, dense = call.backward_errors(gradient, "gaussian"), call.dense_backward_errors("gaussian")
    times = 4 if call.x.dtype == torch.bfloat16 else 3
    return {name for name, error in found.items() if error > max(times * dense[name], 5e-7)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(passes: list[FusedPass], dtype: Any, shape: tuple[int, ...]) -> None:
    *sizes, dim, d = shape
    call = Call(oracle.random_case(*sizes, dim=dim, d=d), dtype)
    assert wrong(call, room.backward(call.dz, call.x, call.particles, GAUSSIAN)) == set()
    assert len(passes) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_same_bits_every_time_and_without_dx(passes: list[FusedPass], dtype: Any) -> None:
    call = Call(oracle.random_case(16, 140, 260, dim=2), dtype)
    both, again = (room.backward(call.dz, call.x, call.particles, GAUSSIAN) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(both, again, strict=True))
    alone = room.backward(call.dz, call.x, call.particles, GAUSSIAN, need_dx=False)
    assert alone.dx is None
    assert all(torch.equal(a, b) for a, b in zip(both[1:], alone[1:], strict=True))
    assert [fused.dx is None for fused in passes] == [False, False, True]
    first = passes[0]
    # Programs own several tiles, and their sums come in several slabs, of either side.
    assert first.tiles_in * first.tiles_out > 1
    assert first.chunks_in * first.chunks_out > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_wide_cloud_is_computed_from_differences(passes: list[FusedPass], dtype: Any, monkeypatch: Any) -> None:
    case = oracle.random_case(20, 300, 45, dim=2)
    for r in (case.r_in, case.r_out):
        r[len(r) // 2 :] += 60
    call = Call(case, dtype)
    got = room.backward(call.dz, call.x, call.particles, GAUSSIAN)
    assert len(passes) == 1
    assert got.dx.isfinite().all()
    monkeypatch.setattr(launch, "LEAST_FACTORED_WEIGHTS", 10**9)
    want = room.backward(call.dz, call.x, call.particles, GAUSSIAN)
    # The same kernels, but for sums over other chunks.
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=2e-2, atol=float(b.double().abs().max()) * 1e-3)


def test_nan_and_infinity_reach_what_they_belong_to(passes: list[FusedPass]) -> None:
    call = Call(oracle.random_case(20, 150, 45, dim=2), torch.float16)
    call.dz[3, 7] = float("nan")
    got = room.backward(call.dz, call.x, call.particles, GAUSSIAN)
    assert passes
    assert got.dx[3].isnan().all()
    assert got.dx[[*range(3), *range(4, 20)]].isfinite().all()
    assert got.dr_in.isnan().all()
    assert got.dr_out[7].isnan().all()
    assert got.dr_out[[*range(7), *range(8, 45)]].isfinite().all()


def test_where_two_passes_are_made(passes: list[FusedPass]) -> None:
    for batch, dim, d in ((65, 2, 2), (16, 4, 4)):  # a larger batch, a wide table of moments
        call = Call(oracle.random_case(batch, 70, 45, dim=dim, d=d), torch.float16)
        assert wrong(call, room.backward(call.dz, call.x, call.particles, GAUSSIAN)) == set()
    call = Call(oracle.random_case(16, 70, 45, dim=2), torch.float16)
    room.backward(call.dz, call.x, call.particles, GAUSSIAN, need_particles=False)
    assert passes == []
    assert tiles.fused_tile("consumer", False, 16, 32) is None
