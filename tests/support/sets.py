"""Several layers of one shape, and their tensors side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pn_gpu.kernels.room import Particles
from support import oracle
from support.dense import Call


class Sets(NamedTuple):
    """Calls of one shape, and their arrays side by side."""

    calls: list[Call]
    x: Any
    particles: Particles
    bias: Any
    dz: Any


def make_sets(
    num_sets: int, shape: tuple[int, int, int], dtype: torch.dtype, device: str = "cpu", **options: Any
) -> Sets:
    """Random layers."""
    return stack([Call(oracle.random_case(*shape, seed=s, **options), dtype, device) for s in range(num_sets)])


def stack(calls: list[Call]) -> Sets:
    """Layers of one shape side by side."""
    particles = Particles(*(torch.stack(p) for p in zip(*(call.particles for call in calls), strict=True)))
    x, bias, dz = (torch.stack([getattr(call, name) for call in calls]) for name in ("x", "bias", "dz"))
    return Sets(calls, x, particles, bias, dz)
