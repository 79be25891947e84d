"""Batched node sets of torch tensors: derivatives and vmap."""

from __future__ import annotations

import pytest
import torch

import pn_gpu as pn
from pn_gpu.kernels.torch import autograd

# jacfwd's own, met by forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")


def layers(num_sets: int, batch: int = 3, n_in: int = 4, n_out: int = 5):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, n_in), (n_in, 2), (n_in, 2), (n_out, 2), (n_out, 2), (n_out,)]
    return [torch.randn(num_sets, *s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]


def test_gradcheck():
    assert torch.autograd.gradcheck(pn.particle_linear, layers(2), check_forward_ad=True, check_batched_grad=True)


def test_gradgradcheck():
    assert torch.autograd.gradgradcheck(pn.particle_linear, layers(2, 2, 3, 2))


def test_frozen_particles():
    x, *rest = layers(2)
    z = pn.particle_linear(x, *(t.detach() for t in rest))
    (first,) = torch.autograd.grad(z.sum(), x)
    want = pn.dense_weight(*(t.detach() for t in rest[:4])).sum(-1)[:, None].expand_as(first)
    torch.testing.assert_close(first, want)


@pytest.mark.parametrize("shared", [(), (0,), (1, 2, 3, 4, 5), (3, 4)])
def test_vmap(shared):
    arguments = layers(3)
    given = [t[0] if k in shared else t for k, t in enumerate(arguments)]
    dims = tuple(None if k in shared else 0 for k in range(6))
    got = torch.vmap(pn.particle_linear, dims)(*given)
    whole = [t[0].expand_as(t) if k in shared else t for k, t in enumerate(arguments)]
    torch.testing.assert_close(got, pn.particle_linear(*whole))


@pytest.mark.parametrize("shared", [(), (1, 2, 3, 4, 5)])
def test_gradients_per_sample(shared):
    arguments = [t.detach() for t in layers(3)]
    given = [t[0] if k in shared else t for k, t in enumerate(arguments)]
    dims = tuple(None if k in shared else 0 for k in range(6))

    def loss(*a):
        return pn.particle_linear(*a).square().sum()

    gradient = torch.func.grad(loss, argnums=tuple(range(6)))
    got = torch.vmap(gradient, dims)(*given)
    for s in range(3):
        one = gradient(*(a if k in shared else a[s] for k, a in enumerate(given)))
        for g, want in zip(got, one, strict=True):
            torch.testing.assert_close(g[s], want)


def test_vmap_over_particles_is_one_call(monkeypatch):
    calls = []
    whole = autograd.compute.forward_sets
    monkeypatch.setattr(autograd.compute, "forward_sets", lambda *a: calls.append(len(a[3])) or whole(*a))
    torch.vmap(pn.particle_linear)(*layers(3))
    assert calls == [3]


def test_only_the_bias_wants_a_gradient():
    *frozen, bias = layers(2)
    z = pn.particle_linear(*(t.detach() for t in frozen), bias)
    (gradient,) = torch.autograd.grad(z.sum(), bias)
    torch.testing.assert_close(gradient, torch.full_like(bias, z.shape[1]))


def test_compiled():
    arguments = layers(2)
    compiled = torch.compile(pn.particle_linear, fullgraph=True, backend="aot_eager")
    got, want = compiled(*arguments), pn.particle_linear(*arguments)
    torch.testing.assert_close(got, want)
    gradients = (torch.autograd.grad(z.square().sum(), arguments) for z in (got, want))
    for g, w in zip(*gradients, strict=True):
        torch.testing.assert_close(g, w)
