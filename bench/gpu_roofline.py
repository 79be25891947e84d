"""What this device can do at best, measured here and now: products, memory traffic; and exponentials by its clock."""

from __future__ import annotations

from typing import NamedTuple

import torch

from bench.gpu_cases import DTYPES, PRECISIONS, Case
from bench.gpu_timing import MEGABYTE, Stopwatch, interleaved

EXPONENTIALS_PER_CYCLE = 16  # of one multiprocessor, from compute capability 7 on
# Products of a phase, in units of the forward's.
PRODUCTS = {"forward": 1, "backward": 2, "step": 3}


class Roofline(NamedTuple):
    """Peaks of one device."""

    flops: dict[str, float]  # per second, by dtype
    bytes: float  # per second
    exponentials: float | None  # per second; None where the clock is not known

    def seconds(self, case: Case, phase: str, weights_are_stored: bool) -> float:
        """The least time of a phase: the slowest of its products, its memory traffic and its exponentials.

        Stored weights are read once for each product with W and written once as a gradient; particles are O(N). Made
        weights take an exponential each, once in a forward and once in a backward.
        """
        products = PRODUCTS[phase] * case.flops / self.flops[case.dtype]
        element = DTYPES[case.dtype].itemsize
        rows = {"forward": 2, "backward": 3, "step": 5}[phase] * case.batch * case.size
        weights = {"forward": 1, "backward": 2, "step": 3}[phase] * case.size**2 if weights_are_stored else 0
        traffic = (rows + weights) * element / self.bytes
        if weights_are_stored or self.exponentials is None:
            return max(products, traffic)
        exponentials = {"forward": 1, "backward": 1, "step": 2}[phase] * case.size**2 / self.exponentials
        return max(products, traffic, exponentials)


def measure(device: torch.device, dtypes: list[str], seconds: float, small: bool) -> Roofline:
    """Peaks from a large square product in every dtype and a copy of a large buffer."""
    stopwatch = Stopwatch.of(device)
    size = 256 if small else 8192
    flops = {}
    for name in dtypes:
        a, b = (torch.randn(size, size, device=device).to(DTYPES[name]) for _ in range(2))
        torch.set_float32_matmul_precision(PRECISIONS[name][0])
        flops[name] = 2 * size**3 / (1e-6 * interleaved(stopwatch, {"": lambda: a @ b}, seconds)[""].low)  # noqa: B023
    torch.set_float32_matmul_precision("highest")
    source = torch.zeros((1 if small else 1024) * MEGABYTE, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = interleaved(stopwatch, {"": lambda: target.copy_(source)}, seconds)[""].low
    return Roofline(flops, 2 * source.numel() / (1e-6 * copy), _exponentials(device))


def _exponentials(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    kilohertz = getattr(properties, "clock_rate", None)
    if not kilohertz:
        return None
    return EXPONENTIALS_PER_CYCLE * properties.multi_processor_count * 1e3 * kilohertz
