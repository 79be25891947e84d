"""What a forward leaves to its backward: seen by saved-tensor hooks, gone after the backward."""

from __future__ import annotations

import gc

import pytest
import torch
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from pn_gpu.kernels.mehler.factor import Factor
from pn_gpu.nn import ParticleLinear


@pytest.fixture
def layer():
    """Wide enough for features that are kept."""
    return ParticleLinear(900, 800, dim=2, method="mehler", generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x():
    return torch.randn(16, 900, generator=torch.Generator().manual_seed(1)).requires_grad_()


def count_factors():
    """Factors of W, which hold the features, that are alive."""
    gc.collect()
    return sum(type(thing) is Factor for thing in gc.get_objects())


def gradients(layer, x, run):
    loss = run(layer, x).square().sum()
    return torch.autograd.grad(loss, [x, *layer.parameters()])


def test_the_layer_keeps_its_features_for_the_backward(layer, x):
    """Else the tests below could not fail."""
    z = layer(x)
    assert layer.planner.current.method == "mehler"
    assert count_factors() > 0
    del z
    assert count_factors() == 0


def test_nothing_is_kept_after_the_backward(layer, x):
    """Of a loss that is appended to a list, say."""
    z = layer(x)
    loss = z.square().sum()
    loss.backward()
    assert count_factors() == 0
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_a_graph_that_is_retained_gives_the_same_gradient_again(layer, x):
    loss = layer(x).square().sum()
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_checkpointing_keeps_nothing(layer, x):
    want = gradients(layer, x, lambda layer, x: layer(x))
    z = checkpoint(layer, x, use_reentrant=False)
    assert count_factors() == 0
    got = torch.autograd.grad(z.square().sum(), [x, *layer.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_hooks_may_move_what_is_saved(layer, x):
    def moved(layer, x):
        with save_on_cpu():
            z = layer(x)
        assert count_factors() == 0
        return z

    want = gradients(layer, x, lambda layer, x: layer(x))
    for a, b in zip(gradients(layer, x, moved), want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


def test_an_inplace_change_of_an_operand_is_an_error(layer, x):
    z = layer(x)
    with torch.no_grad():
        layer.in_particles.positions += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
