"""What is handed to the Triton kernels keeps its digits: no rounded scales, no offsets that wrap around."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from bench.triton_compile import Launch, compile_launch, launches_of  # noqa: E402
from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct, Particles  # noqa: E402
from pn_gpu.kernels.triton.potentials import BUILT_IN  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call  # noqa: E402


def launches(dtype: Any, potential: str, precision: str | None = None) -> list[Launch]:
    """Of a forward and a backward."""
    x = torch.empty((20, 64), dtype=dtype)
    particles = Particles(*(torch.empty((64, 2), dtype=torch.promote_types(dtype, torch.float32)) for _ in range(4)))
    how = Direct(potentials.get(potential), precision)
    return launches_of(
        lambda: (room.forward(x, particles, particles.r_out[:, 0], how), room.backward(x, x, particles, how))
    )


@pytest.mark.parametrize("potential", potentials.names())
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float64, None), (torch.float32, "ieee"), (torch.float32, "bf16x3"), (torch.bfloat16, None)],
)
def test_no_float_is_an_argument(dtype: Any, precision: str | None, potential: str) -> None:
    """The compiler makes float32 of a float that is an argument, and keeps all digits of a constant."""
    for launch in launches(dtype, potential, precision):
        arguments = {p.name for p in launch.kernel.params if not p.is_constexpr}
        floats = {name for name in arguments if isinstance(launch.arguments.get(name), float)}
        assert floats == set(), launch.kernel.__name__


def test_the_scale_of_float64_positions_has_64_bits() -> None:
    (table, *_) = launches(torch.float64, "gaussian")
    constants = re.findall(r"0d([0-9A-Fa-f]{16})", compile_launch(table, 90).ptx)
    assert BUILT_IN["gaussian"].position_scale in {struct.unpack(">d", bytes.fromhex(c))[0] for c in constants}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")
def test_rows_may_lie_2_to_the_27_elements_apart() -> None:
    """Row 16 then lies 2^31 elements on, which 32 bits do not hold. The memory between the rows is never touched."""
    call = Call(oracle.random_case(18, 32, 48, dim=2), torch.float16)
    stride = 2**27

    def spread_out(rows: Any) -> Any:
        storage = torch.empty(len(rows) * stride, dtype=rows.dtype)
        wide = storage.as_strided(rows.shape, (stride, 1))
        wide.copy_(rows)
        return wide

    how = Direct(potentials.get("gaussian"))
    x, dz = spread_out(call.x), spread_out(call.dz)
    z = room.forward(x, call.particles, None, how)[0]
    assert torch.equal(z, room.forward(call.x, call.particles, None, how)[0])
    gradient, want = (room.backward(*pair, call.particles, how) for pair in ((dz, x), (call.dz, call.x)))
    assert all(torch.equal(a, b) for a, b in zip(gradient, want, strict=True))
