"""The Triton kernels through their real launches, in Triton's interpreter on CPU tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels.potentials import Potential  # noqa: E402
from pn_gpu.kernels.room import Direct, Particles  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call, to_numpy  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    # The interpreter's own, of its scalars.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
]

# Scaled errors with float32 rounding of weights and sums.
FLOAT32_ERROR = 5e-7
# The interpreter truncates to bfloat16, so each half holds 8 bits and three errors of 2^-16 are possible.
HALVES_ERROR = 3 * 2**-16
FLOAT64_ERROR = 1e-14


def room() -> Any:
    from pn_gpu.kernels import triton as room

    return room


def errors(call: Call, potential: str = "gaussian", input_precision: str | None = "ieee") -> dict[str, float]:
    """Scaled errors of z and of every gradient."""
    function = potentials.get(potential)
    z = room().forward(call.x, call.particles, call.bias, Direct(function, input_precision))[0]
    gradient = room().backward(call.dz, call.x, call.particles, Direct(function, input_precision))
    assert z.dtype == call.x.dtype
    assert gradient.dx.dtype == call.x.dtype
    assert {g.dtype for g in gradient[1:]} == {call.bias.dtype}
    return {"z": call.forward_error(z, potential)} | call.backward_errors(gradient, potential)


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
def test_float32_potentials(potential: str) -> None:
    call = Call(oracle.random_case(7, 37, 41, dim=2, spread=0.4), torch.float32)
    found = errors(call, potential)
    assert max(found.values()) < FLOAT32_ERROR, found


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
def test_float16_potentials(potential: str) -> None:
    call = Call(oracle.random_case(20, 48, 33, dim=3, spread=0.4), torch.float16)
    found = errors(call, potential)
    assert found.pop("z") <= 2 * call.dense_forward_error(potential)
    dense = call.dense_backward_errors(potential)
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize(("potential", "dim"), [("gaussian", 2), ("wendland_c2", 3)])
def test_bfloat16(potential: str, dim: int) -> None:
    call = Call(oracle.random_case(40, 64, 144, dim=dim), torch.bfloat16)
    found = errors(call, potential)
    assert found.pop("z") <= 2 * call.dense_forward_error(potential)
    dense = call.dense_backward_errors(potential)
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize("potential", ["gaussian", "inverse_multiquadric"])
def test_bfloat16_halves(potential: str) -> None:
    found = errors(Call(oracle.random_case(33, 50, 20), torch.float32), potential, "bf16x3")
    assert max(found.values()) < HALVES_ERROR, found


@pytest.mark.parametrize("potential", ["gaussian", "triangle"])
def test_float64(potential: str) -> None:
    found = errors(Call(oracle.random_case(5, 19, 23), torch.float64), potential)
    assert max(found.values()) < FLOAT64_ERROR, found


@pytest.mark.parametrize(
    ("shape", "dim", "d"),
    [((1, 1, 1), 2, 2), ((3, 130, 5), 1, 1), ((17, 5, 131), 3, 1), ((2, 20, 20), 2, 5), ((3, 9, 11), 9, 10)],
)
def test_ragged_shapes_in_float32(shape: tuple[int, int, int], dim: int, d: int) -> None:
    found = errors(Call(oracle.random_case(*shape, dim=dim, d=d, spread=0.3), torch.float32))
    assert max(found.values()) < FLOAT32_ERROR, found


@pytest.mark.parametrize(
    ("dim", "d", "potential"),
    [(1, 2, "gaussian"), (4, 4, "lorentzian"), (8, 8, "gaussian"), (9, 4, "lorentzian"), (1, 33, "lorentzian")],
)
def test_moment_tables_of_any_width(dim: int, d: int, potential: str) -> None:
    call = Call(oracle.random_case(19, 33, 30, dim=dim, d=d, spread=0.3), torch.float16)
    found = errors(call, potential)
    assert found.pop("z") <= 2 * call.dense_forward_error(potential)
    dense = call.dense_backward_errors(potential)
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize("batch", [1, 16])
def test_inputs_split_over_programs(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from pn_gpu.kernels.triton import launch

    parts: list[int] = []
    make = launch._partial_sums

    def partial_sums(z: Any, splits: int) -> Any:
        parts.append(splits)
        return make(z, splits).fill_(float("nan"))  # sums that nobody writes would show

    monkeypatch.setattr(launch, "_partial_sums", partial_sums)
    call = Call(oracle.random_case(batch, 700, 20, dim=2), torch.float16)
    z = room().forward(call.x, call.particles, call.bias, Direct(potentials.get("gaussian")))[0]
    assert parts == [2]
    assert call.forward_error(z, "gaussian") <= 2 * call.dense_forward_error("gaussian")


@pytest.mark.parametrize("potential", ["gaussian", "lorentzian", "exponential"])
def test_gradient_summed_over_several_chunks(potential: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pn_gpu.kernels.triton import device, gradient

    monkeypatch.setattr(device, "INTERPRETED", device.Device("ampere", 4))
    grids: list[Any] = []
    choose = gradient.choose_chunks
    monkeypatch.setattr(gradient, "choose_chunks", lambda *sizes: grids.append(choose(*sizes)) or grids[-1])
    call = Call(oracle.random_case(9, 500, 250, dim=2), torch.float16)
    found = errors(call, potential)
    # Several slabs on both sides, and several visits to each.
    assert min(grids[0]) > 1
    dense = call.dense_backward_errors(potential)
    found.pop("z")
    assert {name for name, error in found.items() if error > max(3 * dense[name], FLOAT32_ERROR)} == set()


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float16, None), (torch.float32, "ieee"), (torch.float32, "bf16x3")]
)
def test_batch_split_over_programs(dtype: Any, precision: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow layer has too few tiles to fill a device: parts of the batch have programs of their own."""
    from pn_gpu.kernels.triton import device, gradient

    monkeypatch.setattr(device, "INTERPRETED", device.Device("hopper", 132))
    found_parts: list[Any] = []
    make = gradient._parts
    monkeypatch.setattr(gradient, "_parts", lambda *sizes: found_parts.append(make(*sizes)) or found_parts[-1])
    call = Call(oracle.random_case(75, 70, 20, dim=2), dtype)
    found = errors(call, "gaussian", precision)
    found.pop("z")
    assert min(parts.batch for parts in found_parts) >= 3
    assert all(parts.rows * parts.batch >= 75 for parts in found_parts)
    limits = call.dense_backward_errors("gaussian") if dtype == torch.float16 else {}
    rest = HALVES_ERROR if precision == "bf16x3" else FLOAT32_ERROR
    assert {name for name, error in found.items() if error > max(3 * limits.get(name, 0), rest)} == set()


@pytest.mark.parametrize("layout", ["transposed", "every other", "stride 0", "aligned view"])
def test_strides(layout: str) -> None:
    call = Call(oracle.random_case(6, 32, 48, dim=2), torch.float16)

    def strided(a: Any) -> Any:
        if layout == "transposed":
            return a.T.contiguous().T
        if layout == "every other":
            return torch.stack((a, torch.full_like(a, float("nan"))), dim=-1).flatten(-2)[:, ::2]
        if layout == "stride 0":
            return a[:1].expand(a.shape)
        return torch.cat((a, torch.full_like(a, float("nan"))), dim=1)[:, : a.shape[1]]

    x, dz = strided(call.x), strided(call.dz)
    particles = Particles(*(strided(a) if layout in ("transposed", "every other") else a for a in call.particles))
    function = potentials.get("gaussian")
    want = room().forward(x.contiguous(), call.particles, None, Direct(function))[0]
    assert torch.equal(room().forward(x, particles, None, Direct(function))[0], want)
    wanted = room().backward(dz.contiguous(), x.contiguous(), call.particles, Direct(function))
    found = room().backward(dz, x, particles, Direct(function))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, "ieee"), (torch.float32, "bf16x3"), (torch.float16, None)]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_inputs_reach_their_outputs_and_no_others(dtype: Any, precision: str | None, value: float) -> None:
    call = Call(oracle.random_case(5, 70, 20, dim=2), dtype)
    call.x[3, 69] = value
    call.dz[2, 19] = value
    function = potentials.get("gaussian")
    z = room().forward(call.x, call.particles, call.bias, Direct(function, precision))[0]
    assert (~torch.isfinite(z)).all(dim=1).tolist() == [False, False, False, True, False]
    assert torch.isfinite(z[[0, 1, 2, 4]]).all()
    gradient = room().backward(call.dz, call.x, call.particles, Direct(function, precision))
    assert (~torch.isfinite(gradient.dx)).all(dim=1).tolist() == [False, False, True, False, False]
    assert not torch.isfinite(gradient.dr_in[69]).any()
    assert not torch.isfinite(gradient.dv_out[19]).any()


@pytest.mark.parametrize("potential", oracle.POTENTIALS)
def test_coincident_particles(potential: str) -> None:
    case = oracle.random_case(4, 20, 20, dim=2)
    case.r_out[:10] = case.r_in[:10]
    found = errors(Call(case, torch.float32), potential)
    assert max(found.values()) < FLOAT32_ERROR, found


@pytest.mark.parametrize("precision", ["ieee", "bf16x3"])
def test_particles_far_from_the_origin(precision: str) -> None:
    case = oracle.random_case(4, 20, 20, dim=2)
    case.r_in[:] = np.round(case.r_in * 64) / 64 + 1e4  # exact in float32, as are the differences
    case.r_out[:] = np.round(case.r_out * 64) / 64 + 1e4
    found = errors(Call(case, torch.float32), "gaussian", precision)
    assert max(found.values()) < (1e-6 if precision == "ieee" else HALVES_ERROR), found


def test_clusters_far_apart() -> None:
    case = oracle.random_case(4, 20, 20, dim=2)
    case.r_in[10:] += 100
    case.r_out[10:] += 100
    # Positions of 50 from the centre are rounded to 4e-6.
    found = errors(Call(case, torch.float32))
    assert max(found.values()) < 3e-5, found


@pytest.mark.parametrize(("batch", "n_in", "n_out"), [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_empty(batch: int, n_in: int, n_out: int) -> None:
    call = Call(oracle.random_case(batch, n_in, n_out, dim=2), torch.float32)
    assert max(errors(call).values()) < FLOAT32_ERROR  # dbias alone is a sum


def test_unwanted_gradients_are_none() -> None:
    call = Call(oracle.random_case(3, 4, 5, dim=2), torch.float32)
    function = potentials.get("gaussian")
    gradient = room().backward(call.dz, call.x, call.particles, Direct(function), need_dx=False, need_particles=False)
    assert gradient[:5] == (None,) * 5
    assert np.array_equal(to_numpy(gradient.dbias), to_numpy(call.dz.sum(dim=0)))


def test_same_bits_every_time() -> None:
    call = Call(oracle.random_case(9, 150, 70, dim=3), torch.float16)
    function = potentials.get("gaussian")
    first, second = (room().backward(call.dz, call.x, call.particles, Direct(function)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_potential_with_its_own_triton_functions() -> None:
    from pn_gpu.kernels.triton import potentials as functions

    value, slope = functions.BUILT_IN["lorentzian"][:2]
    lorentzian = potentials.get("lorentzian")
    own = Potential("my_own", lorentzian.value, lorentzian.derivative, triton_value=value, triton_derivative=slope)
    call = Call(oracle.random_case(3, 20, 20, dim=2), torch.float32)
    z = room().forward(call.x, call.particles, call.bias, Direct(own))[0]
    assert call.forward_error(z, "lorentzian") < FLOAT32_ERROR


def test_potential_without_triton_functions() -> None:
    call = Call(oracle.random_case(1, 2, 3, dim=2), torch.float32)
    with pytest.raises(ValueError, match="'mine' has no Triton functions"):
        room().forward(call.x, call.particles, None, Direct(Potential("mine", np.exp, np.exp)))[0]


def test_wrong_input_precision() -> None:
    call = Call(oracle.random_case(1, 2, 3, dim=2), torch.float32)
    with pytest.raises(ValueError, match="input_precision: got 'fp8'"):
        room().forward(call.x, call.particles, None, Direct(potentials.get("gaussian"), "fp8"))[0]


def test_wrong_dtypes() -> None:
    call = Call(oracle.random_case(1, 2, 3, dim=2), torch.float32)
    with pytest.raises(TypeError, match=r"r_in: got dtype torch\.float32"):
        room().forward(call.x.double(), call.particles, None, Direct(potentials.get("gaussian")))[0]
    with pytest.raises(TypeError, match=r"x: got dtype torch\.int32"):
        room().forward(call.x.int(), call.particles, None, Direct(potentials.get("gaussian")))[0]


@pytest.mark.parametrize(("setting", "arithmetic"), [("highest", "float32"), ("high", "halves"), ("medium", "tf32")])
def test_precision_follows_the_setting_of_torch(setting: str, arithmetic: str) -> None:
    from pn_gpu.kernels.triton import launch

    before = torch.get_float32_matmul_precision()
    x = torch.zeros(1, 1)
    try:
        torch.set_float32_matmul_precision(setting)
        assert launch._arithmetic(x, x, None) == arithmetic
        assert launch._arithmetic(x, x, "ieee") == "float32"
    finally:
        torch.set_float32_matmul_precision(before)
