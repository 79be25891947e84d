"""One process of sharded runs: ``python sharded_worker.py RANK WORLD_SIZE STORE OUTPUT``.

The network of `make_model` split in every way of `WAYS`. Process 0 writes its output, gradients and weights after two
steps to OUTPUT, put together; FSDP2 leaves a distributed checkpoint of network and optimiser beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import parallelize_module

from pn_gpu.nn import ColwiseParticleParallel, ParticleLinear, ParticleMLP, Particles, RowwiseParticleParallel

# The hidden node set does not split evenly over two processes.
SIZES, BATCH, STEPS, LEARNING_RATE = (24, 17, 5), 12, 2, 0.1


def make_model(seed: int = 0, share_particles: bool = True) -> ParticleMLP:
    generator = torch.Generator().manual_seed(seed)
    return ParticleMLP(SIZES, 2, share_particles=share_particles, generator=generator, dtype=torch.float64)


def make_batch() -> Tensor:
    return torch.randn(BATCH, SIZES[0], generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def make_wide_layer(method: str) -> ParticleLinear:
    generator = torch.Generator().manual_seed(0)
    return ParticleLinear(1200, 1001, dim=2, method=method, generator=generator, dtype=torch.float64)


def make_wide_batch() -> Tensor:
    return torch.randn(8, 1200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)


def train(model: nn.Module, x: Tensor) -> tuple[Tensor, torch.optim.Optimizer]:
    """The first output after some steps on the mean square of the outputs; gradients are left as the last step's."""
    optimizer, outputs = make_optimizer(model), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        z = model(x)
        outputs.append(z.detach())
        whole(z).square().mean().backward()
        optimizer.step()
    return outputs[0], optimizer


def by_node_set(model: ParticleMLP, mesh: DeviceMesh) -> nn.Module:
    for particles in model.particles:
        fully_shard(particles, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def by_wrapping(model: ParticleMLP, mesh: DeviceMesh) -> nn.Module:
    policy = None if model.share_particles else ModuleWrapPolicy({Particles})
    return FullyShardedDataParallel(model, auto_wrap_policy=policy, device_id=torch.device("cpu"), use_orig_params=True)


def by_tensors(*styles: Any) -> Callable[[ParticleMLP, DeviceMesh], nn.Module]:
    plan = {f"layers.{index}": style for index, style in enumerate(styles)}
    return lambda model, mesh: parallelize_module(model, mesh, plan)


# How to split, whether node sets are shared, and whether each process has its own rows of the batch.
WAYS: dict[str, tuple[Callable[[ParticleMLP, DeviceMesh], nn.Module], bool, bool]] = {
    "fully_shard": (lambda model, mesh: fully_shard(model, mesh=mesh), True, True),
    "fully_shard by node set": (by_node_set, True, True),
    "FSDP": (by_wrapping, True, True),
    "FSDP by node set": (by_wrapping, False, True),
    "columns, rows": (by_tensors(ColwiseParticleParallel(), RowwiseParticleParallel()), True, False),
    "columns twice": (by_tensors(*[ColwiseParticleParallel(output_layouts=Replicate())] * 2), True, False),
    "rows, columns": (
        by_tensors(
            RowwiseParticleParallel(input_layouts=Replicate(), use_local_output=False),
            ColwiseParticleParallel(use_local_output=False),
        ),
        True,
        False,
    ),
    "rows, scattered": (
        by_tensors(
            ColwiseParticleParallel(use_local_output=False),
            RowwiseParticleParallel(output_layouts=Shard(0), use_local_output=False),
        ),
        True,
        False,
    ),
}


def run(way: str, mesh: DeviceMesh, checkpoint: Path) -> dict[str, Any]:
    """What one way of splitting gives, put together."""
    split, shared, own_rows = WAYS[way]
    # Tensor parallelism takes the values of process 0.
    model = split(make_model(0 if own_rows else dist.get_rank(), shared), mesh)
    x = make_batch()
    z, optimizer = train(model, x.tensor_split(dist.get_world_size())[dist.get_rank()] if own_rows else x)
    if way == "fully_shard by node set":
        weights, state = get_state_dict(model, optimizer)
        dcp.save({"model": weights, "optimizer": state}, checkpoint_id=checkpoint)
    dense = None if isinstance(model, FullyShardedDataParallel) else model.to_dense()(x).detach()
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    if isinstance(model, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(model, with_grads=True):
            gradients = [p.grad.clone() for p in model.parameters()]
    else:
        gradients = [whole(p.grad) for p in model.parameters()]
    if not own_rows:
        z = whole(z)
    return {"z": z, "gradients": gradients, "weights": [t.detach().clone() for t in weights.values()], "dense": dense}


def run_mehler(mesh: DeviceMesh) -> dict[str, Any]:
    """z of a wide layer by columns, each process with a plan for its own part."""
    layer = parallelize_module(make_wide_layer("mehler"), mesh, ColwiseParticleParallel(output_layouts=Replicate()))
    z = layer(make_wide_batch()).detach()
    return {"z": z, "method": layer.planner.current.method, "sizes": layer.planner.current.sizes}


def whole(t: Tensor) -> Tensor:
    return t.full_tensor() if isinstance(t, DTensor) else t


def main(rank: int, world_size: int, store: str, output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world_size, timeout=timedelta(seconds=60)
    )
    mesh = init_device_mesh("cpu", (world_size,))
    results = {way: run(way, mesh, Path(output).with_suffix("")) for way in WAYS}
    results["mehler"] = run_mehler(mesh)
    if rank == 0:
        torch.save(results, output)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    rank, world_size, store, output = sys.argv[1:]
    main(int(rank), int(world_size), store, output)
