"""What a training step of one network takes: milliseconds, and memory at its worst moment."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.compressed import FAMILIES, Family, Shape
from bench.equal_parameters_training import BATCH_SIZE
from bench.harness import resident_peak

# A network of the same family that brings its libraries into memory before anything is measured.
SMALL = Shape(hidden=2, size=2, dipole_dim=2)
STEPS = 60


class StepCost(NamedTuple):
    """Milliseconds of a step when nothing else disturbs it (the fastest tenth take less), and MB at its worst moment.

    The network, its gradient and Adam's state are included.
    """

    ms: float
    mb: float


def measure_step(name: str, shape: Shape, num_in: int, num_out: int) -> StepCost:
    """Take steps of a family's network on random examples; call it in a fresh process."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH_SIZE, num_in, generator=generator)
    y = torch.randint(num_out, (BATCH_SIZE,), generator=generator)
    seconds: list[float] = []

    def take(shape: Shape, steps: int) -> int:
        seconds[:] = _timed_steps(FAMILIES[name], shape, x, y, num_out, steps)
        return 0

    take(SMALL, 2)
    mb = resident_peak(lambda: take(shape, STEPS))
    return StepCost(1e3 * float(np.quantile(seconds, 0.1)), mb)


def _timed_steps(family: Family, shape: Shape, x: Tensor, y: Tensor, num_out: int, steps: int) -> list[float]:
    network = family.make(x.shape[1], num_out, shape, 1.0, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(family.groups(network, 1e-3))
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = cross_entropy(network(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds
