"""The Mehler method in torch: values, autograd, and the module that plans for itself."""

import copy
import pickle

import numpy as np
import pytest

from support import oracle

torch = pytest.importorskip("torch")

import pn_gpu as pn  # noqa: E402
from pn_gpu.nn import ParticleLinear  # noqa: E402

CASE = oracle.random_case(6, 300, 260, dim=2, seed=3)
X, R_IN, V_IN, R_OUT, V_OUT, BIAS, DZ = (torch.tensor(a) for a in CASE)


def relative(got, want):
    return float(np.linalg.norm(got.detach().numpy() - want) / np.linalg.norm(want))


def test_public_function_is_differentiable():
    tensors = [t.clone().requires_grad_() for t in (X, R_IN, V_IN, R_OUT, V_OUT, BIAS)]
    z = pn.particle_linear(*tensors, method="mehler", rtol=1e-4)
    assert 0 < relative(z, oracle.forward(CASE)) < 3e-4
    z.backward(DZ)
    want = oracle.backward(CASE)
    bounds = [3e-4, 3e-3, 3e-4, 3e-3, 3e-4, 1e-12]  # positions err more than the rest, biases not at all
    for tensor, exact, bound in zip(tensors, want, bounds, strict=True):
        assert relative(tensor.grad, exact) < bound


def test_backward_function_agrees_with_autograd():
    tensors = [t.clone().requires_grad_() for t in (X, R_IN, V_IN, R_OUT, V_OUT)]
    pn.particle_linear(*tensors, method="mehler").backward(DZ)
    gradient = pn.particle_linear_backward(DZ, X, R_IN, V_IN, R_OUT, V_OUT, method="mehler")
    for tensor, got in zip(tensors, gradient, strict=False):
        torch.testing.assert_close(tensor.grad, got, rtol=1e-12, atol=1e-12)


def make_layer(method, **options):
    layer = ParticleLinear(300, 260, dim=2, method=method, generator=torch.Generator().manual_seed(0), **options)
    return layer.double() if options.get("dtype") is None else layer


def test_module_plans_and_trains():
    layer, exact = make_layer("mehler"), make_layer("direct")
    exact.load_state_dict(layer.state_dict())
    x = X.to(layer.in_particles.positions.dtype)
    z, want = layer(x), exact(x)
    assert layer.planner.current.method == "mehler"
    assert 0 < float((z - want).detach().norm() / want.detach().norm()) < 3e-3
    (z**2).sum().backward()
    (want**2).sum().backward()
    for got, reference in zip(layer.parameters(), exact.parameters(), strict=True):
        assert float((got.grad - reference.grad).norm() / reference.grad.norm()) < 3e-2


def test_auto_takes_the_method_for_a_wide_layer():
    layer = ParticleLinear(900, 800, dim=2, method="auto", generator=torch.Generator().manual_seed(0))
    exact = ParticleLinear(900, 800, dim=2, method="direct")
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(16, 900, generator=torch.Generator().manual_seed(1))
    z, want = [layer(x) for _ in range(12)][-1], exact(x)  # a search has to be earned first
    assert (layer.planner.current.method, layer.planner.current.requested) == ("mehler", "auto")
    assert 1e-5 < float((z - want).detach().norm() / want.detach().norm()) < 2e-3  # direct in float32 errs by 1e-6


def test_module_copies_and_pickles_with_its_plan():
    layer = make_layer("mehler")
    x = X.to(layer.in_particles.positions.dtype)
    want = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.method == "mehler"
        torch.testing.assert_close(other(x), want)


def test_unknown_method():
    with pytest.raises(ValueError, match="method: got 'fast'"):
        ParticleLinear(3, 2, method="fast")
    with pytest.raises(ValueError, match="rtol: got 2"):
        ParticleLinear(3, 2, rtol=2)
