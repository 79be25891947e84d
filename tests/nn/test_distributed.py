"""Data-parallel training by two processes: the loss and gradients of one, and less to exchange."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nn import ddp_worker
from pn_gpu.nn import GradientTraffic, ParticleLinear, gradient_bytes

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs torch.distributed with gloo",
)
ROOT = Path(__file__).parents[2]
TIMEOUT = 150


def run(folder: Path, dies_at_step: int = -1) -> list[subprocess.CompletedProcess]:
    """Two processes over a file in ``folder``; both have ended when this returns."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PN_GPU_NUM_THREADS": "1"}
    arguments = ["2", str(folder / "store"), str(folder / "result.pt"), str(dies_at_step)]
    processes = [
        subprocess.Popen(
            [sys.executable, ddp_worker.__file__, str(rank), *arguments],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, stderr=error)
        for process, error in zip(processes, errors, strict=True)
    ]


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
