"""torch.compile takes a training step as one graph."""

from __future__ import annotations

import copy

import pytest
import torch

import pn_gpu as pn
from pn_gpu.nn import ParticleMLP


@pytest.fixture(autouse=True)
def _forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def step(model, x, labels):
    loss = torch.nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    return loss.detach()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # inductor's own imports
def test_training_step_by_inductor():
    """Shared particles, autocast inside, a batch size that changes: the gradients of the eager model."""
    model = ParticleMLP([12, 9, 4], generator=torch.Generator().manual_seed(0))
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for batch in (8, 5):
        x, labels = torch.randn(batch, 12), torch.randint(4, (batch,))
        torch.testing.assert_close(step(compiled, x, labels), step(eager, x, labels))
        for a, b in zip(model.parameters(), eager.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("autocast", [False, True])
def test_public_function_in_one_graph(autocast):
    def function(x, *layer):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return pn.particle_linear(x, *layer).relu().float()

    arguments = [torch.randn(s, requires_grad=True) for s in [(2, 3, 7), (7, 3), (7, 3), (4, 3), (4, 3), (4,)]]
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for f in (function, compiled):
        z = f(*arguments)
        results.append((z, *torch.autograd.grad(z.square().sum(), arguments)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
