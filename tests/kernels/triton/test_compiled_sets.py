"""What the compiler makes of the kernels for several sets, beside what it makes of them for one."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from bench.triton_compile import Compiled, Launch, compile_launch, launches_of  # noqa: E402
from pn_gpu.kernels import potentials  # noqa: E402
from pn_gpu.kernels import triton as room  # noqa: E402
from pn_gpu.kernels.room import Direct, Particles  # noqa: E402

SIZE, SETS = 4096, 5


class Configuration(NamedTuple):
    """A call, an architecture and a kernel."""

    capability: int
    dtype: str
    batch: int
    kernel: str
    factored: bool = False
    potential: str = "gaussian"
    input_precision: str | None = None


CONFIGURATIONS = [
    *(Configuration(c, "bfloat16", 128, "product_kernel", c in (80, 90, 100)) for c in (80, 90, 100, 120)),
    *(Configuration(c, "bfloat16", 128, "moment_kernel", c in (80, 90, 100)) for c in (80, 90, 100, 120)),
    Configuration(90, "bfloat16", 16, "product_kernel", True),
    Configuration(90, "bfloat16", 1024, "product_kernel", True),
    Configuration(90, "bfloat16", 128, "product_kernel"),
    Configuration(90, "bfloat16", 128, "moment_kernel"),
    Configuration(90, "bfloat16", 128, "moment_kernel", potential="lorentzian"),
    Configuration(90, "float32", 128, "product_kernel", input_precision="bf16x3"),
    Configuration(90, "float32", 128, "moment_kernel", input_precision="bf16x3"),
    Configuration(90, "float32", 128, "product_kernel", input_precision="ieee"),
    Configuration(90, "float32", 128, "difference_kernel", input_precision="ieee"),
]


def compiled(configuration: Configuration, sets: tuple[int, ...]) -> tuple[Launch, Compiled]:
    x = torch.empty((*sets, configuration.batch, SIZE), dtype=getattr(torch, configuration.dtype))
    particles = Particles(*(torch.empty((*sets, SIZE, 3)) for _ in range(4)))
    how = Direct(potentials.get(configuration.potential), configuration.input_precision)

    def call() -> None:
        _, kept = room.forward(x, particles, torch.empty((*sets, SIZE)), how, keep=True)
        room.backward(x, x, particles, how, residuals=kept)

    found = next(
        launch
        for launch in launches_of(call, configuration.capability)
        if launch.kernel.__name__ == configuration.kernel
        and launch.arguments.get("FACTORED", False) == configuration.factored
    )
    return found, compile_launch(found, configuration.capability)


def instructions(found: Launch, compiled: Compiled) -> float:
    """Of the loop over the weights, for each of them."""
    arguments: dict[str, Any] = found.arguments
    weights = arguments["BO"] * arguments["BK"] if "BO" in arguments else arguments["BI"] * arguments["BJ"]
    return len(compiled.weight_loop()) * compiled.threads / weights


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: "-".join(map(str, c)))
def test_weights_cost_what_they_cost_in_one_set(configuration: Configuration) -> None:
    found, of_sets = compiled(configuration, (SETS,))
    found_alone, alone = compiled(configuration, ())
    assert found.arguments["sets"] == SETS
    print(of_sets.registers, alone.registers, instructions(found, of_sets), instructions(found_alone, alone))
    assert instructions(found, of_sets) <= 1.02 * instructions(found_alone, alone)
    assert of_sets.registers <= 255
    assert of_sets.stack_bytes == 0
    assert of_sets.local_bytes == 0
    assert of_sets.serialised_products() == []
