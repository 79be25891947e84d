"""One process of a data-parallel run: ``python ddp_worker.py RANK WORLD_SIZE STORE OUTPUT [DIES_AT_STEP]``.

Some steps of stochastic gradient descent for a particle network and its dense one, on this process's rows of
every global batch. Process 0 writes losses, gradients and traffic of both to OUTPUT. With DIES_AT_STEP the
last process leaves without a word at that step.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pn_gpu.nn import GradientTraffic, ParticleMLP

SIZES, BATCH, STEPS = (24, 17, 5), 12, 3


def make_model(name: str) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    particles = ParticleMLP(SIZES, dim=2, generator=generator, dtype=torch.float64)
    return particles if name == "particles" else particles.to_dense()


def make_batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    x = torch.randn(BATCH, SIZES[0], generator=generator, dtype=torch.float64)
    return x, torch.randint(SIZES[-1], (BATCH,), generator=generator)


def train_step(model: nn.Module, x: torch.Tensor, labels: torch.Tensor, lr: float = 0.01) -> torch.Tensor:
    """One step, returning the loss before it."""
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= lr * parameter.grad
    return loss.detach()


def train(name: str, rank: int, world_size: int, dies_at_step: int) -> dict[str, Any]:
    """Losses, last gradients and traffic of one model."""
    model = DistributedDataParallel(make_model(name))
    traffic = GradientTraffic(model)
    losses = []
    for step in range(STEPS):
        if step == dies_at_step and rank == world_size - 1:
            os._exit(0)
        x, labels = (t.tensor_split(world_size)[rank] for t in make_batch(step))
        loss = train_step(model, x, labels)
        dist.all_reduce(loss)
        losses.append(loss / world_size)
    return {
        "losses": torch.stack(losses),
        "gradients": [p.grad for p in model.parameters()],
        "bytes": traffic.bytes,
        "exchanges": traffic.exchanges,
    }


def main(rank: int, world_size: int, store: str, output: str, dies_at_step: int = -1) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )
    results = {name: train(name, rank, world_size, dies_at_step) for name in ("particles", "dense")}
    if rank == 0:
        torch.save(results, output)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    rank, world_size, store, output, *rest = sys.argv[1:]
    main(int(rank), int(world_size), store, output, *map(int, rest))
