"""Data-parallel training by two processes: the loss and gradients of one, and less to exchange."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from nn import ddp_worker
from pn_gpu.nn import GradientTraffic, ParticleLinear, gradient_bytes
from support.two_processes import run_two_processes

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs torch.distributed with gloo",
)


def run(folder: Path, dies_at_step: int = -1) -> list[subprocess.CompletedProcess]:
    return run_two_processes(ddp_worker.__file__, folder, dies_at_step)


def test_two_processes_are_one(tmp_path):
    for process in run(tmp_path):
        assert process.returncode == 0, process.stderr
    traffic = {}
    for name, got in torch.load(tmp_path / "result.pt").items():
        model = ddp_worker.make_model(name)
        batches = [ddp_worker.make_batch(step) for step in range(ddp_worker.STEPS)]
        losses = [ddp_worker.train_step(model, *batch) for batch in batches]
        torch.testing.assert_close(got["losses"], torch.stack(losses), rtol=1e-12, atol=0)
        for a, b in zip(got["gradients"], model.parameters(), strict=True):
            torch.testing.assert_close(a, b.grad, rtol=1e-11, atol=1e-14)

        assert got["exchanges"] == ddp_worker.STEPS
        traffic[name] = got["bytes"] / got["exchanges"]
        assert traffic[name] == gradient_bytes(model)
    n_in, hidden, n_out = ddp_worker.SIZES
    # Of 8 bytes each: n + d = 4 numbers a node, and a bias; a number a weight, and a bias.
    assert traffic["particles"] == 8 * (4 * n_in + 5 * hidden + 5 * n_out)
    assert traffic["dense"] == 8 * ((n_in + 1) * hidden + (hidden + 1) * n_out)


def test_dead_peer_is_an_error(tmp_path):
    survivor, _ = run(tmp_path, dies_at_step=1)
    assert survivor.returncode != 0
    assert "Error" in survivor.stderr
    assert not (tmp_path / "result.pt").exists()


def test_gradient_bytes():
    layer = ParticleLinear(1000, 2000, dim=2)
    assert gradient_bytes(layer) == 4 * (4 * 3000 + 2000)
    assert gradient_bytes(nn.Linear(1000, 2000)) == 4 * (1000 * 2000 + 2000)
    layer.in_particles.requires_grad_(False)
    assert gradient_bytes(layer) == 4 * (4 * 2000 + 2000)


def test_traffic_wants_a_distributed_model():
    with pytest.raises(TypeError, match="model: got ParticleLinear, want a DistributedDataParallel"):
        GradientTraffic(ParticleLinear(3, 4))
