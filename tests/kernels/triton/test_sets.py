"""Several sets in one launch of every kernel, in Triton's interpreter, beside the oracle of each set."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from bench.triton_compile import captured_launches  # noqa: E402
from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct, OperatorGradient, Particles  # noqa: E402
from pn_gpu.kernels.triton import device, gradient, launch  # noqa: E402
from support import oracle  # noqa: E402
from support.dense import Call  # noqa: E402
from support.sets import Sets, make_sets, stack  # noqa: E402

interpreted = pytest.mark.usefixtures("interpreted")
# The interpreter's own, of its scalars.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")

FLOAT32_ERROR = 5e-7  # with float32 rounding of weights and sums
HALVES_ERROR = 3 * 2**-16  # the interpreter truncates to bfloat16, so each half holds 8 bits


def check(sets: Sets, how: Direct, z: Any, gradient: OperatorGradient, limit: float) -> None:
    """Every set within ``limit`` of the oracle, or as near to it as a call of its own, which other tests judge."""

    def errors(call: Call, z: Any, gradient: Any) -> dict[str, float]:
        potential = how.potential.name
        return {"z": call.forward_error(z, potential)} | call.backward_errors(gradient, potential)

    for s, call in enumerate(sets.calls):
        found = errors(call, z[s], OperatorGradient._make(g[s] for g in gradient))
        alone = errors(
            call,
            room.forward(call.x, call.particles, call.bias, how)[0],
            room.backward(call.dz, call.x, call.particles, how),
        )
        assert max(alone.values()) < 0.05
        assert {name: error for name, error in found.items() if error > max(limit, 1.2 * alone[name])} == {}, s


@interpreted
@pytest.mark.parametrize(
    ("num_sets", "shape", "dtype", "precision", "potential", "limit"),
    [
        (1, (3, 5, 4), torch.float32, "ieee", "gaussian", FLOAT32_ERROR),
        (3, (4, 70, 45), torch.float32, "ieee", "gaussian", FLOAT32_ERROR),
        (3, (7, 37, 41), torch.float32, "bf16x3", "gaussian", HALVES_ERROR),
        (2, (20, 64, 48), torch.float16, None, "gaussian", FLOAT32_ERROR),
        (2, (1, 300, 5), torch.float16, None, "gaussian", FLOAT32_ERROR),
        (4, (17, 2, 131), torch.bfloat16, None, "lorentzian", FLOAT32_ERROR),
        (2, (40, 19, 23), torch.float64, None, "exponential", 1e-14),
        (3, (18, 33, 70), torch.float32, "ieee", "triangle", FLOAT32_ERROR),
    ],
)
def test_oracle(
    num_sets: int, shape: tuple[int, int, int], dtype: Any, precision: str | None, potential: str, limit: float
) -> None:
    sets = make_sets(num_sets, shape, dtype, dim=2, d=3, spread=0.4)
    how = Direct(potentials.get(potential), precision)
    z, kept = room.forward(sets.x, sets.particles, sets.bias, how, keep=True)
    check(sets, how, z, room.backward(sets.dz, sets.x, sets.particles, how, residuals=kept), limit)


@interpreted
@pytest.mark.parametrize("potential", ["gaussian", "lorentzian"])
def test_moment_tables_of_several_chunks(potential: str) -> None:
    sets = make_sets(2, (9, 13, 10), torch.float16, dim=8, d=8, spread=0.3)
    how = Direct(potentials.get(potential))
    z, _ = room.forward(sets.x, sets.particles, sets.bias, how)
    check(sets, how, z, room.backward(sets.dz, sets.x, sets.particles, how), FLOAT32_ERROR)


@interpreted
@pytest.mark.parametrize(
    ("shape", "dtype", "precision"), [((40, 520, 20), torch.float16, None), ((40, 270, 140), torch.float32, "ieee")]
)
def test_sums_split_over_programs(
    shape: tuple[int, int, int], dtype: Any, precision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large device the inputs, the tiles and the batch of every set are parted."""
    monkeypatch.setattr(device, "INTERPRETED", device.Device("hopper", 44))
    splits: list[int] = []
    make_partial, make_parts = launch._partial_sums, gradient._parts

    def partial_sums(z: Any, parts: int) -> Any:
        splits.append(parts)
        return make_partial(z, parts).fill_(float("nan"))  # sums that nobody writes would show

    parts: list[gradient.Parts] = []
    monkeypatch.setattr(launch, "_partial_sums", partial_sums)
    monkeypatch.setattr(gradient, "_parts", lambda *sizes: parts.append(make_parts(*sizes)) or parts[-1])
    sets = make_sets(2, shape, dtype, dim=2, spread=0.4)
    how = Direct(potentials.get("gaussian"), precision)
    z, _ = room.forward(sets.x, sets.particles, sets.bias, how)
    # Sums of other parts than alone.
    check(sets, how, z, room.backward(sets.dz, sets.x, sets.particles, how), 2 * FLOAT32_ERROR)
    assert min(splits) > 1
    assert parts[0].chunks.chunks_in > 1
    assert parts[0].batch > 1


@interpreted
def test_factors_are_chosen_by_every_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A far particle in one set leaves the others with factors; NaN in unread slabs would show."""
    monkeypatch.setattr(launch, "LEAST_FACTORED_WEIGHTS", 1)
    made: list[Any] = []
    make_factors = launch.make_factors
    monkeypatch.setattr(launch, "make_factors", lambda tables: made.append(make_factors(tables)) or made[-1])
    cases = [oracle.random_case(9, 20, 130, dim=2, spread=0.4, seed=s) for s in range(3)]
    cases[1].r_in[10] += 40
    sets = stack([Call(case, torch.bfloat16) for case in cases])
    how = Direct(potentials.get("gaussian"))
    z, kept = room.forward(sets.x, sets.particles, sets.bias, how, keep=True)
    # The halves truncated by the interpreter, and positions of 20 from the centre in the set with the far particle.
    check(sets, how, z, room.backward(sets.dz, sets.x, sets.particles, how, residuals=kept), 1e-4)
    assert made[0].is_far.any(dim=1).tolist() == [False, True, False]


@interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("columns", [32, 37])
def test_what_sets_share_is_read_in_place(dtype: Any, columns: int) -> None:
    """Stride 0, and every other set of an array: the same bits as of arrays side by side, a gradient for every set."""
    sets = make_sets(3, (6, columns, 16), dtype, dim=2)

    def shared(a: Any) -> Any:
        return a[:1].expand(a.shape)

    def every_other(a: Any) -> Any:
        return torch.stack((a, torch.full_like(a, float("nan"))), dim=1).flatten(0, 1)[::2]

    def transposed(a: Any) -> Any:
        return a.mT.contiguous().mT

    how = Direct(potentials.get("gaussian"), "ieee")
    nodes = Particles(
        shared(sets.particles.r_in), *map(every_other, sets.particles[1:3]), transposed(sets.particles[3])
    )
    bias = shared(torch.stack((sets.bias, sets.bias * torch.nan), dim=2)[..., 0])
    dz = every_other(sets.dz)
    for x in (shared(sets.x), every_other(sets.x), transposed(sets.x)):
        whole = x.contiguous(), Particles(*(p.contiguous() for p in nodes)), bias.contiguous()
        assert torch.equal(room.forward(x, nodes, bias, how)[0], room.forward(*whole, how)[0])
        found, wanted = room.backward(dz, x, nodes, how), room.backward(dz.contiguous(), *whole[:2], how)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@interpreted
@pytest.mark.parametrize("names", [("x",), ("r_in", "v_in"), ("x", "r_out"), ("bias",), ("x", *Particles._fields)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_dimension_of_1_is_shared_and_its_gradients_summed(names: tuple[str, ...], dtype: Any) -> None:
    sets = make_sets(3, (6, 32, 16), dtype, dim=2)
    given = {"x": sets.x, **sets.particles._asdict(), "bias": sets.bias}
    one = {name: a[:1] if name in names else a for name, a in given.items()}
    every = {name: a[:1].expand(sets.x.shape[0], *a.shape[1:]) if name in names else a for name, a in given.items()}
    how = Direct(potentials.get("gaussian"), "ieee")

    def run(x: Any, bias: Any, **particles: Any) -> tuple[Any, OperatorGradient]:
        nodes = Particles(**particles)
        z, kept = room.forward(x, nodes, bias, how, keep=True)
        return z, room.backward(sets.dz, x, nodes, how, residuals=kept)

    (z, found), (want_z, wanted) = run(**one), run(**every)
    assert torch.equal(z, want_z)
    for name, g, want in zip(given, found, wanted, strict=True):
        if name not in names or name == "bias":  # whose sharing a backward is not told
            assert torch.equal(g, want)
            continue
        assert g.shape == one[name].shape
        assert g.dtype == want.dtype
        # Summed in float32 and rounded once, where the sum of the sets' gradients is rounded twice.
        rounding = torch.finfo(want.dtype).eps * want.abs().sum(0, dtype=torch.float32)
        assert ((g[0].float() - want.sum(0, dtype=torch.float32)).abs() <= rounding).all()


@interpreted
@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
@pytest.mark.parametrize("num_sets", [0, 2])
def test_empty(num_sets: int, shape: tuple[int, int, int]) -> None:
    batch, n_in, n_out = shape
    x, dz, bias = (torch.ones(num_sets, *s) for s in ((batch, n_in), (batch, n_out), (n_out,)))
    particles = Particles(*(torch.ones(num_sets, count, 2) for count in (n_in, n_in, n_out, n_out)))
    how = Direct(potentials.get("gaussian"))
    z = room.forward(x, particles, bias, how)[0]
    assert torch.equal(z, bias[:, None].expand(num_sets, batch, n_out))
    gradient = room.backward(dz, x, particles, how)
    for g, like in zip(gradient, (x, *particles), strict=False):
        assert torch.equal(g, torch.zeros_like(like))
    assert torch.equal(gradient.dbias, dz.sum(1))


@interpreted
def test_no_sets_have_a_gradient_of_zero_for_what_they_share() -> None:
    x, dz = torch.ones(1, 3, 4), torch.ones(0, 3, 5)
    particles = Particles(*(torch.ones(s, count, 2) for s, count in ((1, 4), (0, 4), (0, 5), (0, 5))))
    gradient = room.backward(dz, x, particles, Direct(potentials.get("gaussian")))
    assert torch.equal(gradient.dx, torch.zeros_like(x))
    assert torch.equal(gradient.dr_in, torch.zeros(1, 4, 2))


def launches(num_sets: int | None, size: int, dtype: Any) -> tuple[Counter[str], list[tuple[int, ...]]]:
    """Launches of a forward and a backward, and the grids of those that make weights."""
    sets = () if num_sets is None else (num_sets,)
    x, dz = (torch.empty((*sets, 32, size), dtype=dtype) for _ in range(2))
    particles = Particles(*(torch.empty((*sets, size, 3)) for _ in range(4)))
    with captured_launches() as found:
        how = Direct(potentials.get("gaussian"), "ieee")
        _, kept = room.forward(x, particles, torch.empty((*sets, size)), how, keep=True)
        room.backward(dz, x, particles, how, residuals=kept)
    pairs = ("product_kernel", "moment_kernel", "difference_kernel", "fused_backward_kernel")
    grids = [launched.grid for launched in found if launched.kernel.__name__ in pairs]
    return Counter(launched.kernel.__name__ for launched in found), grids


@pytest.mark.parametrize(
    ("dtype", "factored"), [(torch.bfloat16, True), (torch.bfloat16, False), (torch.float32, False)]
)
def test_launches_do_not_grow_with_the_sets(dtype: Any, factored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "INTERPRETED", device.Device("hopper", 132))
    monkeypatch.setattr(launch, "LEAST_FACTORED_WEIGHTS", 0 if factored else 2**62)
    few, _ = launches(2, 50, dtype)
    many, grids = launches(100_000, 16, dtype)
    # Of z and of dx, with factors and without; but with factors dx comes with the gradient.
    assert few["product_kernel"] == (3 if factored else 2)
    assert {name: count for name, count in many.items() if count > few[name]} == {}
    assert all(g[0] >= 100_000 and max(g[1:]) < 2**16 for g in grids)


def test_a_set_alone_is_compiled_as_if_there_were_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton makes a constant of an argument that is 1, and the compiler takes what sets need out of the kernels."""
    for dtype in (torch.bfloat16, torch.float32):
        _, alone = launches(None, 64, dtype)
        _, one = launches(1, 64, dtype)
        assert alone == one
    with captured_launches() as found:
        x, particles = torch.empty(4, 64), Particles(*(torch.empty(64, 2) for _ in range(4)))
        how = Direct(potentials.get("gaussian"), "ieee")
        room.backward(x, x, particles, how)
    assert [one.arguments["sets"] for one in found if "sets" in one.arguments] == [1, 1]


def test_small_sets_fill_the_device_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone each is split over many programs; 200 of them are not."""
    monkeypatch.setattr(device, "INTERPRETED", device.Device("hopper", 132))
    _, alone = launches(1, 512, torch.float32)
    _, together = launches(200, 512, torch.float32)
    programs = [[g[0] * g[1] * (g[2] if len(g) > 2 else 1) for g in grids] for grids in (alone, together)]
    assert [grid[1] for grid in alone[::2]] == [4, 4]  # splits of the inputs; between them the gradient
    assert min(programs[0]) >= 32
    assert [grid[1] for grid in together[::2]] == [1, 1]
    assert together[1] == (200, 1, 1)
