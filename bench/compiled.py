"""Every configuration of the Triton kernels, compiled for GPUs that need not be there: does one spill, or wait?

Takes the launches of real calls: every tile of `pn_gpu.kernels.triton.tiles`, every potential, particles of few and of
many components, ragged shapes. Writes a row for each kernel that differs (registers, spilled bytes, shared memory,
programs that fit on a multiprocessor, instructions per weight, messages of the assembler) and ends with 1 if one
spills, does not fit, or has its products serialised. Minutes for each architecture; compiled kernels are kept in
Triton's cache, so a second run is quicker.

What still spills, and why it stays: exact float64 and more than 8 numbers a particle need more than 255 registers with
any tile. Particle gradients of strict float32 and float16 on 8.0 and 10.0, and of some other potentials on 10.0, spill
8 to 48 bytes, of n = d = 4 up to 88, where tiles that do not take 7 to 26 percent more instructions; those of strict
float32 do not with one stage, which fetches nothing ahead. The exponential by halves on 10.0 spills 504: its tile is
the best for the Gaussian (20.2 instructions a weight), and tiles with which the exponential does not spill take 21 to
26 percent more than it does so (25.5, spills counted). The last store of 256 rows of a width that is no multiple of 16
spills once a program. The assembler limits itself to 32 or 168 registers in some kernels and spills 8 to 24 bytes
outside their loops (gradient_from_moments_kernel among them).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton

from bench.triton_compile import Compiled, Launch, compile_launch, launches_of
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, Particles
from pn_gpu.kernels.triton import launch, tiles

CAPABILITIES = (80, 90, 100, 120)
OUTPUT = Path("bench/results/compiled.csv")
SIZE, RAGGED = (4096, 4096), (1100, 1000)
# How x is multiplied, by the names of `tiles.ARITHMETICS`.
INPUTS: dict[str, tuple[torch.dtype, str | None]] = {
    "16-bit": (torch.bfloat16, None),
    "halves": (torch.float32, "bf16x3"),
    "tf32": (torch.float32, "tf32"),
    "float32": (torch.float32, "ieee"),
    "float64": (torch.float64, None),
}
# Bytes of shared memory of a multiprocessor, of which each program takes 1 KiB more than it asks for, and its most
# warps (CUDA C++ Programming Guide 13.0, table "Technical Specifications per Compute Capability").
SHARED_BYTES = {80: 164 << 10, 90: 228 << 10, 100: 228 << 10, 120: 100 << 10}
WARPS = {80: 64, 90: 64, 100: 64, 120: 48}
REGISTERS = 65536
# Those that make pairs; the others make or add up what particles or rows have.
KERNELS = (
    "product_kernel",
    "moment_kernel",
    "difference_kernel",
    "fused_backward_kernel",
    "few_rows_kernel",
    "gradient_from_moments_kernel",
    "factor_kernel",
)


class Case(NamedTuple):
    """A forward and a backward to compile."""

    dtype: torch.dtype
    precision: str | None
    batch: int
    n: int
    d: int
    potential: str
    sizes: tuple[int, int] = SIZE


@dataclass
class Row:
    """A kernel as compiled."""

    architecture: str
    kernel: str
    dtype: str
    precision: str
    potential: str
    n: int
    d: int
    ragged: bool
    factored: bool
    tile: str
    warps: int
    stages: int
    registers: int
    spilled_bytes: int
    spills_in_loop: int | None
    shared_bytes: int
    programs: int
    instructions_per_weight: float | None
    serialised: str
    triton: str

    @property
    def fault(self) -> str:
        """What is wrong with it; empty if nothing is."""
        wrong = []
        if self.spilled_bytes:
            wrong.append(f"spills {self.spilled_bytes} bytes")
        if not self.programs:
            wrong.append(f"{self.shared_bytes} bytes of shared memory do not fit")
        if self.serialised:
            wrong.append(self.serialised)
        return ", ".join(wrong)


def cases(capability: int) -> Iterator[Case]:
    """What brings every tile of an architecture into use, and every potential."""
    family = tiles.family_of(*divmod(capability, 10))
    for arithmetic, (dtype, precision) in INPUTS.items():
        few = sorted({t.BB for t in (*tiles.PRODUCT_TILES[family][arithmetic], *_factored(family, arithmetic))})
        many = [t.BB for t in tiles.MANY_COMPONENTS_PRODUCT_TILES[family][arithmetic]]
        for batch in few:
            yield Case(dtype, precision, batch, 3, 3, "gaussian")
        for name in potentials.names() if arithmetic in ("16-bit", "float32") else ("exponential", "lorentzian"):
            yield Case(dtype, precision, few[-1], 3, 3, name)
        yield Case(dtype, precision, few[-1], 2, 4, "gaussian")
        yield Case(dtype, precision, few[-1], 3, 3, "gaussian", RAGGED)
        for batch in many:
            yield Case(dtype, precision, batch, 8, 8, "gaussian")
        for components, name in ((4, "gaussian"), (4, "lorentzian"), (9, "gaussian")):
            yield Case(dtype, precision, many[-1], components, components, name)
    for components, name in ((3, "gaussian"), (3, "lorentzian"), (8, "gaussian")):
        yield Case(torch.float16, None, 128, components, components, name)


def _factored(family: str, arithmetic: str) -> tuple[tiles.ProductTile, ...]:
    return tiles.FACTORED_PRODUCT_TILES.get(family, ()) if arithmetic == "16-bit" else ()


def launches_of_case(case: Case, capability: int) -> list[Launch]:
    """The kernels of a forward and a backward."""
    size_in, size_out = case.sizes
    wide = torch.float64 if case.dtype == torch.float64 else torch.float32
    x, dz = (torch.empty((case.batch, size), dtype=case.dtype) for size in case.sizes)
    shapes = ((size_in, case.n), (size_in, case.d), (size_out, case.n), (size_out, case.d))
    particles = Particles(*(torch.empty(shape, dtype=wide) for shape in shapes))
    how = Direct(potentials.get(case.potential), case.precision)

    def step() -> None:
        _, kept = launch.forward(x, particles, torch.empty(size_out, dtype=wide), how, keep=True)
        launch.backward(dz, x, particles, how, residuals=kept)

    return launches_of(step, capability)


def what_differs(found: Launch) -> tuple[Any, ...]:
    """What a kernel is compiled for: constants, dtypes and alignment."""

    def kind(value: Any) -> Any:
        if hasattr(value, "data_ptr"):
            return value.dtype, value.data_ptr() % 16 == 0
        return value == 1, value % 16 == 0, -(2**31) <= value < 2**31

    constants = {parameter.name for parameter in found.kernel.params if parameter.is_constexpr}
    parts = ((k, str(v) if k in constants else kind(v)) for k, v in sorted(found.arguments.items()))
    return found.kernel.__name__, tuple(parts), tuple(sorted(found.options.items()))


def programs_on_multiprocessor(compiled: Compiled, capability: int) -> int:
    """How many programs a multiprocessor holds at once."""
    warps = compiled.threads // 32
    by_registers = REGISTERS // (-(-compiled.registers // 8) * 8 * compiled.threads)
    by_memory = SHARED_BYTES[capability] // (compiled.shared_bytes + 1024)
    return min(by_registers, by_memory, WARPS[capability] // warps)


def compile_row(case: Case, found: Launch, capability: int) -> Row:
    """Compile one kernel of a case."""
    compiled = compile_launch(found, capability)
    arguments = found.arguments
    tile = "x".join(str(arguments[name]) for name in ("BO", "BI", "BB", "BJ", "BK") if name in arguments)
    weights = (
        arguments["BO"] * arguments["BK"] if "BO" in arguments else arguments.get("BI", 0) * arguments.get("BJ", 0)
    )
    loop = None
    with contextlib.suppress(ValueError):  # programs of a single tile have no loop
        loop = compiled.weight_loop() if weights else None
    per_weight = len(loop) * compiled.threads / weights if loop else None
    return Row(
        architecture=f"sm_{capability}",
        kernel=found.kernel.__name__,
        dtype=str(case.dtype).removeprefix("torch."),
        precision=case.precision or "",
        potential=case.potential,
        n=case.n,
        d=case.d,
        ragged=case.sizes == RAGGED,
        factored=arguments.get("FACTORED", found.kernel.__name__ == "fused_backward_kernel"),
        tile=tile,
        warps=compiled.threads // 32,
        stages=found.options.get("num_stages", 0),
        registers=compiled.registers,
        spilled_bytes=compiled.stack_bytes + compiled.local_bytes,
        spills_in_loop=loop.count("LDL|STL") if loop else None,
        shared_bytes=compiled.shared_bytes,
        programs=programs_on_multiprocessor(compiled, capability),
        instructions_per_weight=None if per_weight is None else round(per_weight, 2),
        serialised=" ".join(compiled.serialised_products()) if capability == 90 and weights else "",
        triton=triton.__version__,
    )


def sweep(capability: int) -> Iterator[Row]:
    """All kernels in use on an architecture."""
    seen = set()
    for case in cases(capability):
        for found in launches_of_case(case, capability):
            key = what_differs(found)
            if key not in seen and found.kernel.__name__ in KERNELS:
                seen.add(key)
                yield compile_row(case, found, capability)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--architectures", type=int, nargs="+", choices=CAPABILITIES, default=CAPABILITIES)
    parser.add_argument("--csv", type=Path, default=OUTPUT, help=f"where the rows go (default: {OUTPUT})")


def run(options: argparse.Namespace) -> int:
    """Compile all of it; 0 if nothing is wrong."""
    faults = 0
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for capability in options.architectures:
            rows = 0
            for row in sweep(capability):
                writer.writerow(asdict(row))
                file.flush()
                rows += 1
                if row.fault:
                    faults += 1
                    print(f"{row.architecture} {row.kernel} {row}: {row.fault}", flush=True)
            print(f"sm_{capability}: {rows} kernels", flush=True)
    print(f"{faults} faults; see {options.csv}")
    return int(faults > 0)
