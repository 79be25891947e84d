"""What the compiler makes of the kernels, for GPUs that need not be there.

Kernels are taken from the launches of real calls, so a change of tiles or of a launch shows here too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from bench.compiled import programs_on_multiprocessor  # noqa: E402
from bench.triton_compile import Compiled, Launch, compile_launch, launches_of  # noqa: E402
from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels.room import Direct, Particles  # noqa: E402
from pn_gpu.kernels.triton import launch, tiles  # noqa: E402

SIZE = 4096


class Configuration(NamedTuple):
    """A call, an architecture, and the most instructions per weight that its main loop may take."""

    capability: int
    dtype: str
    batch: int
    dim: int
    ceiling: float
    potential: str = "gaussian"
    input_precision: str | None = None


# Weights made of factors: the same for any n and d. Beside each ceiling what Triton 3.6 gives, and what it gives where
# all exponentials are made by the unit for them.
FACTORED_PRODUCTS = [
    *(Configuration(90, "bfloat16", 16, dim, 5.8) for dim in (2, 3)),  # 5.44, 3.67
    Configuration(90, "bfloat16", 32, 3, 5.8),  # 5.55, 3.78
    Configuration(90, "bfloat16", 64, 3, 5.9),  # 5.64, 3.88
    *(Configuration(90, "bfloat16", 128, dim, 5.5) for dim in (2, 3)),  # -, 5.12
    Configuration(90, "float16", 128, 4, 5.5),
    Configuration(90, "bfloat16", 1024, 3, 6.0),  # -, 5.47
    Configuration(100, "bfloat16", 16, 3, 5.4),  # 5.08, 4.06
    Configuration(100, "bfloat16", 128, 3, 7.3),  # 6.97, 5.94
    Configuration(80, "bfloat16", 16, 3, 6.1),  # 5.80, 4.02
    Configuration(80, "bfloat16", 128, 3, 6.0),  # -, 5.69
]
# Weights made from differences. Beside each ceiling what Triton 3.6 / 3.9 gives (one figure: 3.6).
PRODUCTS = [
    Configuration(90, "bfloat16", 16, 2, 11.0),  # 10.31 / 10.38
    Configuration(90, "bfloat16", 128, 2, 12.1),  # 11.50 / 11.72
    Configuration(90, "bfloat16", 1024, 2, 15.3),  # 14.62
    Configuration(90, "bfloat16", 1024, 3, 19.5),  # 18.62
    Configuration(90, "float16", 128, 3, 15.9),  # 15.09 / 15.31
    Configuration(90, "float32", 128, 2, 12.5, input_precision="tf32"),  # 11.66 / 12.16
    Configuration(90, "float32", 128, 2, 17.0, input_precision="bf16x3"),  # 16.06 / 16.69
    Configuration(100, "bfloat16", 1024, 2, 13.0),  # 11.66 / 11.59
    Configuration(100, "bfloat16", 128, 3, 15.0),  # 14.16 / 14.22
    Configuration(80, "bfloat16", 128, 2, 12.2),  # 11.56 / 11.56
    Configuration(120, "bfloat16", 128, 3, 16.0),  # 15.19
    Configuration(120, "bfloat16", 16, 2, 10.6),  # 9.98
]
FACTORED_GRADIENTS = [
    Configuration(90, "bfloat16", 128, 2, 8.3),  # 7.80
    Configuration(90, "bfloat16", 128, 3, 9.0),  # 8.50
    Configuration(90, "float16", 128, 3, 18.3),  # 17.41
    Configuration(100, "bfloat16", 128, 3, 12.0),  # 11.44
    Configuration(80, "bfloat16", 128, 3, 12.7),  # 12.09
]
# dx and the particle gradient from one pass; it replaces a factored product and a factored gradient.
FUSED = [
    Configuration(90, "bfloat16", 16, 2, 7.3),  # 6.86
    Configuration(90, "bfloat16", 16, 3, 7.8),  # 7.36
    Configuration(90, "bfloat16", 32, 3, 10.1),  # 9.50
    Configuration(90, "bfloat16", 64, 3, 10.9),  # 10.31
    Configuration(90, "float16", 16, 3, 14.4),  # 13.56
    Configuration(90, "float16", 32, 3, 14.9),  # 14.03
    Configuration(90, "float16", 64, 3, 16.0),  # 15.12
    Configuration(100, "bfloat16", 16, 3, 11.1),  # 10.50
    Configuration(80, "bfloat16", 16, 2, 9.6),  # 9.09
    Configuration(80, "bfloat16", 16, 3, 11.9),  # 11.22
]
GRADIENTS = [
    Configuration(90, "bfloat16", 128, 2, 13.0),  # 12.16 / 12.64
    Configuration(90, "bfloat16", 1024, 3, 16.2),  # 15.34 / 15.70
    Configuration(90, "float16", 128, 3, 26.0),  # 23.81 / 24.28
    Configuration(90, "bfloat16", 128, 2, 22.5, potential="lorentzian"),  # 21.34 / 21.69
    Configuration(90, "float32", 128, 3, 27.5, input_precision="bf16x3"),  # 25.97 / 26.81
    Configuration(90, "float32", 128, 2, 66.0, input_precision="ieee"),  # 61.59 / 63.72
    Configuration(100, "bfloat16", 128, 2, 14.7),  # 13.91 / 13.38
    Configuration(80, "bfloat16", 128, 3, 19.0),  # 17.80 / 17.78
    Configuration(120, "bfloat16", 128, 3, 19.0),  # 17.98 / 17.11
]


def name_of(configuration: Configuration) -> str:
    return "-".join(str(part) for part in configuration if part is not None)


def launched(configuration: Configuration, call: Callable[..., Any], kernel: str, factored: bool = False) -> Launch:
    """The launch of ``kernel`` that ``call`` makes on the architecture of ``configuration``."""
    dtype = getattr(torch, configuration.dtype)
    x = torch.empty((configuration.batch, SIZE), dtype=dtype)
    particles = Particles(*(torch.empty((SIZE, configuration.dim)) for _ in range(4)))
    function = potentials.get(configuration.potential)
    launches = launches_of(
        lambda: call(x, particles, function, configuration.input_precision), configuration.capability
    )
    return next(
        launch
        for launch in launches
        if launch.kernel.__name__ == kernel and launch.arguments.get("FACTORED", False) == factored
    )


@lru_cache
def compiled_product(configuration: Configuration, factored: bool) -> tuple[Launch, Compiled]:
    def call(x: Any, particles: Particles, function: Any, precision: str | None) -> None:
        launch.forward(x, particles, torch.empty(SIZE), Direct(function, precision))

    found = launched(configuration, call, "product_kernel", factored)
    return found, compile_launch(found, configuration.capability)


@lru_cache
def compiled_gradient(configuration: Configuration, factored: bool) -> tuple[Launch, Compiled]:
    def call(x: Any, particles: Particles, function: Any, precision: str | None) -> None:
        launch.backward(x, x, particles, Direct(function, precision), need_dx=False)

    strict = configuration.input_precision == "ieee"
    found = launched(configuration, call, "difference_kernel" if strict else "moment_kernel", factored)
    return found, compile_launch(found, configuration.capability)


@lru_cache
def compiled_fused(configuration: Configuration) -> tuple[Launch, Compiled]:
    def call(x: Any, particles: Particles, function: Any, precision: str | None) -> None:
        launch.backward(x, x, particles, Direct(function, precision))

    found = launched(configuration, call, "fused_backward_kernel")
    return found, compile_launch(found, configuration.capability)


def check_registers(compiled: Compiled) -> None:
    assert compiled.registers <= 255
    assert compiled.stack_bytes == 0
    assert compiled.local_bytes == 0
    assert "ld.local" not in compiled.ptx
    assert "st.local" not in compiled.ptx


def cases(factored: list[Configuration], others: list[Configuration]) -> list[Any]:
    made = [pytest.param(c, True, id=f"{name_of(c)}-factored") for c in factored]
    return made + [pytest.param(c, False, id=name_of(c)) for c in others]


@pytest.mark.parametrize(("configuration", "factored"), cases(FACTORED_PRODUCTS, PRODUCTS))
def test_product(configuration: Configuration, factored: bool) -> None:
    found, compiled = compiled_product(configuration, factored)
    check_registers(compiled)
    assert compiled.serialised_products() == []
    assert len(re.findall(r"\btt\.store\b", compiled.ttgir)) == 1
    loop = compiled.weight_loop()
    assert loop.count("STG") == 0
    weights = found.arguments["BO"] * found.arguments["BK"]
    per_weight = len(loop) * compiled.threads / weights
    print(f"{name_of(configuration)}: {compiled.registers} registers, {per_weight:.2f} instructions per weight")
    assert per_weight <= configuration.ceiling
    # Each weight is made once, and a quarter of them without the unit for exponentials where that is asked for.
    share = 0.75 if found.arguments["SHARES_EXPONENTIALS"] else 1
    assert loop.count("MUFU") * compiled.threads == share * weights


@pytest.mark.parametrize(("configuration", "factored"), cases(FACTORED_PRODUCTS, PRODUCTS))
def test_as_many_programs_fit_as_the_tiles_say(configuration: Configuration, factored: bool) -> None:
    found, compiled = compiled_product(configuration, factored)
    family = tiles.family_of(*divmod(configuration.capability, 10))
    arithmetic = "16-bit" if configuration.dtype != "float32" else launch.FP32_PRODUCT[configuration.input_precision]
    if factored:
        tile = tiles.factored_product_tile(family, configuration.batch)
    else:
        tile = tiles.product_tile(family, arithmetic, configuration.batch, 2 * configuration.dim)
    assert tile_of(found, tiles.ProductTile) == launch_of(tile)
    fits = programs_on_multiprocessor(compiled, configuration.capability)
    print(f"{name_of(configuration)}: {fits} programs on a multiprocessor, {tile.programs} expected")
    # Other potentials take more registers and other architectures have the same data, so one or two more may fit.
    assert tile.programs <= fits <= tile.programs + 2


# Beside each ceiling what Triton 3.6 gives; the product of 16 rows takes 34 in float32, and that of 32 rows 129 in
# float64.
FEW_ROWS = [
    Configuration(90, "float32", 1, 3, 14.6, input_precision="ieee"),  # 13.81
    Configuration(90, "float32", 4, 3, 18.3, input_precision="ieee"),  # 17.31
    Configuration(90, "float32", 4, 8, 40.5, input_precision="ieee"),  # 38.38
    Configuration(90, "float32", 4, 3, 25.0, "wendland_c2", "ieee"),  # 23.62
    Configuration(90, "float64", 4, 3, 65.0),  # 61.25
    Configuration(90, "float64", 4, 8, 99.0),  # 93.50
    Configuration(80, "float32", 4, 3, 18.4, input_precision="ieee"),  # 17.38
    Configuration(100, "float32", 4, 3, 16.0, input_precision="ieee"),  # 15.12
    Configuration(120, "float32", 4, 3, 17.9, input_precision="ieee"),  # 16.94
]


@pytest.mark.parametrize("configuration", FEW_ROWS, ids=name_of)
def test_a_handful_of_rows(configuration: Configuration) -> None:
    dtype = getattr(torch, configuration.dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def call(x: Any, particles: Particles, function: Any, precision: str | None) -> None:
        launch.forward(x, Particles(*(p.to(wide) for p in particles)), None, Direct(function, precision))

    found = launched(configuration, call, "few_rows_kernel")
    compiled = compile_launch(found, configuration.capability)
    check_registers(compiled)
    loop, arguments = compiled.weight_loop(), found.arguments
    per_weight = len(loop) * compiled.threads / (arguments["BO"] * arguments["BK"])
    print(f"{name_of(configuration)}: {compiled.registers} registers, {per_weight:.2f} instructions per weight")
    assert per_weight <= configuration.ceiling
    # Nothing waits for other threads, and nothing is written, before the end.
    assert loop.count("BAR") == loop.count("STS") == loop.count("STG") == 0
    family = tiles.family_of(*divmod(configuration.capability, 10))
    tile = tiles.product_tile(family, configuration.dtype, configuration.batch, 2 * configuration.dim)
    assert tile.programs <= programs_on_multiprocessor(compiled, configuration.capability) <= tile.programs + 2


# Multiply-adds of 16-bit numbers a clock of a multiprocessor's tensor cores; see `tiles.FACTORED_PRODUCT_TILES`.
MULTIPLY_ADDS = {80: 1024, 90: 2048, 100: 4096}


def multiply_adds(found: Launch, batch: int) -> int:
    """What a weight takes of the tensor cores, where it is made of factors."""
    arguments = found.arguments
    if found.kernel.__name__ == "product_kernel":
        return 32 + arguments["BB"]
    moments = 2 * arguments["WIDTH"] * (2 if arguments["SPLIT_TILE"] else 1)
    if found.kernel.__name__ == "moment_kernel":
        return 16 + -(-batch // arguments["BK"]) * arguments["BK"] + moments
    return 32 + 2 * arguments["BB"] + moments


def clocks_per_weight(found: Launch, compiled: Compiled, batch: int) -> float:
    """What the slowest takes: issue (128 instructions a clock), exponentials (16), or products of a multiprocessor."""
    loop, sides = compiled.weight_loop(), ("BO", "BK") if "BO" in found.arguments else ("BI", "BJ")
    weights = found.arguments[sides[0]] * found.arguments[sides[1]]
    products = multiply_adds(found, batch) / MULTIPLY_ADDS[compiled.capability]
    return max(max(len(loop) / 128, loop.count("MUFU") / 16) * compiled.threads / weights, products)


@pytest.mark.parametrize("configuration", [c for c in FACTORED_PRODUCTS if c.batch <= 128], ids=name_of)
def test_exponentials_are_shared_where_it_pays(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, compiled = compiled_product(configuration, True)
    family = tiles.family_of(*divmod(configuration.capability, 10))
    if not shared.arguments["SHARES_EXPONENTIALS"]:
        assert tiles.LARGEST_BATCH_THAT_SHARES[family] < configuration.batch
        return
    monkeypatch.setitem(tiles.LARGEST_BATCH_THAT_SHARES, family, 0)
    alone, compiled_alone = compiled_product.__wrapped__(configuration, True)
    batch = configuration.batch
    assert clocks_per_weight(shared, compiled, batch) <= 0.9 * clocks_per_weight(alone, compiled_alone, batch)
    per_weight = len(compiled_alone.weight_loop()) * compiled_alone.threads
    per_weight /= alone.arguments["BO"] * alone.arguments["BK"]
    assert per_weight <= (4.5 if batch <= 64 else 6.0)


@pytest.mark.parametrize(
    ("configuration", "factored"),
    [
        case
        for case in cases(FACTORED_PRODUCTS, PRODUCTS)
        if case.values[0].capability == 90 and case.values[0].batch in (16, 1024)
    ],
)
def test_weights_stay_in_registers_on_hopper(configuration: Configuration, factored: bool) -> None:
    _, compiled = compiled_product(configuration, factored)
    loop = compiled.weight_loop()
    assert loop.count("HGMMA") > 0
    # What reaches shared memory in the loop is x and the particles, copied there asynchronously.
    assert loop.count("STS") == 0
    assert loop.count("STSM") == 0
    # wgmma's A operand, the weights, is a list of registers, not a descriptor of shared memory; left factors, which
    # stay the same, may come from there.
    operands = re.findall(r"wgmma\.mma_async\S+\s*\{[^}]*\},\s*(\{|%rd)", compiled.ptx)
    assert "{" in operands
    assert factored or set(operands) == {"{"}
    # Asynchronous: the products of one step run while the next step's weights are made.
    assert "ttng.warp_group_dot" in compiled.ttgir


@pytest.mark.parametrize(("configuration", "factored"), cases(FACTORED_GRADIENTS, GRADIENTS))
def test_particle_gradient(configuration: Configuration, factored: bool) -> None:
    found, compiled = compiled_gradient(configuration, factored)
    check_registers(compiled)
    assert compiled.serialised_products() == []
    loop = compiled.weight_loop()
    pairs = found.arguments["BI"] * found.arguments["BJ"]
    per_pair = len(loop) * compiled.threads / pairs
    print(f"{name_of(configuration)}: {compiled.registers} registers, {per_pair:.2f} instructions per pair")
    assert per_pair <= configuration.ceiling
    assert not re.search(r"\b(atom|red)\.", compiled.ptx)
    # The slabs are all that is written in the loop: WIDTH numbers for each output particle of a tile, not a pair.
    assert loop.count("STG") * compiled.threads <= pairs / 4


@pytest.mark.parametrize("configuration", FUSED, ids=name_of)
def test_one_pass_for_dx_and_the_particle_gradient(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, compiled = compiled_fused(configuration)
    check_registers(compiled)
    assert compiled.serialised_products() == []
    arguments, loop = found.arguments, compiled.weight_loop()
    pairs = arguments["BI"] * arguments["BJ"]
    per_pair = len(loop) * compiled.threads / pairs
    print(f"{name_of(configuration)}: {compiled.registers} registers, {per_pair:.2f} instructions per pair")
    assert per_pair <= configuration.ceiling
    assert loop.count("MUFU") * compiled.threads == pairs  # every weight is made once
    assert not re.search(r"(atom|red)\.", compiled.ptx)
    tile = tiles.fused_tile(
        tiles.family_of(*divmod(configuration.capability, 10)),
        configuration.dtype == "float16",
        configuration.batch,
        arguments["WIDTH"],
    )
    assert tile_of(found, tiles.FusedTile) == launch_of(tile)
    fits = programs_on_multiprocessor(compiled, configuration.capability)
    assert tile.programs <= fits <= tile.programs + 2
    # It pays: the products of 64 rows take as long as all else, those of 16 half as long as a pass for each.
    monkeypatch.setattr(launch, "fused_pass", lambda *arguments: None)
    passes = [compiled_product(configuration, True), compiled_gradient.__wrapped__(configuration, True)]
    batch = configuration.batch
    part = clocks_per_weight(found, compiled, batch) / sum(clocks_per_weight(*each, batch) for each in passes)
    print(f"{name_of(configuration)}: {part:.2f} of the clocks of two passes")
    assert part <= 0.95


def test_every_fused_tile_is_among_the_compiled() -> None:
    used = {tile_of(compiled_fused(configuration)[0], tiles.FusedTile) for configuration in FUSED}
    tables = (tiles.FUSED_TILES[family][kind] for family in tiles.FUSED_TILES for kind in tiles.FUSED_TILES[family])
    assert {launch_of(tile) for table in tables for tile in table} == used


# What the lists above leave out of the tiles in use on Hopper.
OTHER_PRODUCTS = [
    *(Configuration(90, "bfloat16", batch, 3, 0) for batch in (32, 64)),
    *(Configuration(90, "float32", batch, 3, 0, input_precision=p) for batch in (16, 64) for p in ("tf32", "bf16x3")),
    *(Configuration(90, "bfloat16", batch, 6, 0) for batch in (16, 128)),
    *(Configuration(90, "float32", batch, 4, 0, input_precision=p) for batch in (16, 64) for p in ("tf32", "bf16x3")),
]
OTHER_GRADIENTS = [
    Configuration(90, "float32", 128, 4, 0, potential="lorentzian", input_precision="bf16x3"),
    Configuration(90, "float32", 128, 4, 0, input_precision="ieee"),
    *(Configuration(120, "float16", 128, 3, 0, potential=potential) for potential in ("gaussian", "lorentzian")),
    Configuration(120, "float32", 128, 4, 0, potential="lorentzian", input_precision="bf16x3"),
    Configuration(120, "float32", 128, 4, 0, input_precision="ieee"),
    Configuration(100, "bfloat16", 128, 4, 0),
    Configuration(90, "float16", 128, 3, 0, potential="lorentzian"),
    Configuration(90, "float32", 128, 3, 0, potential="lorentzian", input_precision="bf16x3"),
    *(Configuration(90, "bfloat16", 128, 5, 0, potential=potential) for potential in ("gaussian", "lorentzian")),
]


@pytest.mark.parametrize("configuration", [*OTHER_PRODUCTS, *OTHER_GRADIENTS], ids=name_of)
def test_nothing_spills_and_no_products_wait_for_each_other(configuration: Configuration) -> None:
    compile_one = compiled_gradient if configuration in OTHER_GRADIENTS else compiled_product
    _, compiled = compile_one(configuration, False)
    check_registers(compiled)
    assert compiled.serialised_products() == []


def test_every_tile_of_hopper_is_among_the_compiled() -> None:
    seen = [compiled_product(c, True)[0] for c in FACTORED_PRODUCTS if c.capability == 90]
    seen += [compiled_product(c, False)[0] for c in (*PRODUCTS, *OTHER_PRODUCTS) if c.capability == 90]
    used = {(launch.arguments["FACTORED"], tile_of(launch, tiles.ProductTile)) for launch in seen}
    by_arithmetic = (tiles.PRODUCT_TILES["hopper"], tiles.MANY_COMPONENTS_PRODUCT_TILES["hopper"])
    on_tensor_cores = ("16-bit", "halves", "tf32")
    wanted = {(False, launch_of(tile)) for table in by_arithmetic for name in on_tensor_cores for tile in table[name]}
    wanted |= {(True, launch_of(tile)) for tile in tiles.FACTORED_PRODUCT_TILES["hopper"]}
    assert wanted <= used
    gradients = [compiled_gradient(c, False)[0] for c in (*GRADIENTS, *OTHER_GRADIENTS) if c.capability == 90]
    used_by_gradients = {tile_of(launch, tiles.GradientTile) for launch in gradients}
    wide = tiles.WIDE_TABLE_TILES["hopper"].values()
    of_gradients = {launch_of(t) for t in (*tiles.GRADIENT_TILES["hopper"].values(), *wide, tiles.DIFFERENCE_TILE)}
    assert of_gradients <= used_by_gradients


def launch_of(tile: Any) -> tuple[int, ...]:
    """What a launch shows of a tile."""
    return tuple(tile[:-1])


def tile_of(launch: Launch, kind: Any) -> tuple[int, ...]:
    return tuple({**launch.arguments, **launch.options}[name] for name in kind._fields[:-1])
