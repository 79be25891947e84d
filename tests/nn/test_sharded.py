"""FSDP, distributed checkpoints and tensor parallelism: two processes give what one does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from nn import sharded_worker
from pn_gpu.nn import ColwiseParticleParallel, ParticleLinear
from support.two_processes import run_two_processes

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs torch.distributed with gloo",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where both processes left their results."""
    folder = tmp_path_factory.mktemp("sharded")
    for process in run_two_processes(sharded_worker.__file__, folder):
        assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.parametrize("way", sharded_worker.WAYS)
def test_two_processes_are_one(way, folder):
    got = torch.load(folder / "result.pt")[way]
    _, shared, own_rows = sharded_worker.WAYS[way]
    model, x = sharded_worker.make_model(share_particles=shared), sharded_worker.make_batch()
    z, _ = sharded_worker.train(model, x)
    # A sum over the batch or the particles is taken in two parts.
    tolerance = {"rtol": 1e-11, "atol": 1e-14}
    torch.testing.assert_close(got["z"], z.tensor_split(2)[0] if own_rows else z, **tolerance)
    for a, b in zip(got["gradients"], model.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, **tolerance)
    if got["dense"] is not None:
        torch.testing.assert_close(got["dense"], model.to_dense()(x).detach(), **tolerance)
    for a, b in zip(got["weights"], model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_every_process_plans_its_part(folder):
    got = torch.load(folder / "result.pt")["mehler"]
    assert got["method"] == "mehler"
    assert got["sizes"] == (1200, 501, 2, 2)
    want = sharded_worker.make_wide_layer("direct")(sharded_worker.make_wide_batch()).detach()
    assert 0 < float((got["z"] - want).norm() / want.norm()) < 3e-3


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_a_distributed_checkpoint_is_loaded_by_one_process(folder):
    model, x = sharded_worker.make_model(), sharded_worker.make_batch()
    _, optimizer = sharded_worker.train(model, x)
    other = sharded_worker.make_model(seed=5)
    _, other_optimizer = sharded_worker.train(other, x)
    weights, state = get_state_dict(other, other_optimizer)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=folder / "result", no_dist=True)
    set_state_dict(other, other_optimizer, model_state_dict=weights, optim_state_dict=state)
    for a, b in zip(other.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-14)
        momenta = other_optimizer.state[a]["momentum_buffer"], optimizer.state[b]["momentum_buffer"]
        torch.testing.assert_close(*momenta, rtol=1e-11, atol=1e-14)


def test_what_cannot_be_split():
    """The mesh of two dimensions is a stand-in: a real one wants processes."""
    with pytest.raises(TypeError, match="module: got Linear, want a ParticleLinear"):
        ColwiseParticleParallel()._apply(nn.Linear(3, 4), SimpleNamespace(ndim=1))
    with pytest.raises(ValueError, match="device_mesh: got 2 dimensions, want one"):
        ColwiseParticleParallel()._apply(ParticleLinear(3, 4), SimpleNamespace(ndim=2))
