"""The weight matrix of a layer: read like an `nn.Linear`'s, in O(N M), never written."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pn_gpu.kernels import potentials
from pn_gpu.kernels.torch import weight
from pn_gpu.nn import ParticleLinear
from pn_gpu.nn.weight import ComputedWeight
from support import oracle


@pytest.mark.parametrize("potential", potentials.names())
def test_gradient_is_that_of_the_operator(potential, monkeypatch):
    """G = x^T dz is the gradient of W; in several blocks of rows, the last one ragged."""
    monkeypatch.setattr(weight, "BLOCK", 3 * 7)
    case = oracle.random_case(4, 11, 7, dim=2, d=3)
    particles = [torch.tensor(a).requires_grad_() for a in case.particles]
    w = weight.dense_weight(*particles, potential)
    scale = float(abs(oracle.weight(case, potential)).max())
    torch.testing.assert_close(w.detach(), torch.tensor(oracle.weight(case, potential)), rtol=0, atol=1e-14 * scale)
    w.backward(torch.tensor(case.x.T @ case.dz))
    want, scale = oracle.backward(case, potential), oracle.backward_scale(case, potential)
    for tensor, name in zip(particles, ("dr_in", "dv_in", "dr_out", "dv_out"), strict=True):
        assert oracle.scaled_error(tensor.grad.numpy(), getattr(want, name), getattr(scale, name)) < 1e-14


def test_operator_fulfils_its_schema():
    particles = [torch.randn(n, 2, dtype=torch.float64, requires_grad=True) for n in (5, 5, 4, 4)]
    torch.library.opcheck(weight.dense_weight, (*particles, "gaussian"))


def test_layer_makes_it_by_that_operator_alone():
    """No product with an identity matrix, which would take O(N^2 M)."""
    calls = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(func)
            return func(*args, **(kwargs or {}))

    layer = ParticleLinear(40, 10, dim=2)
    with Record():
        layer.weight.sum().backward()
    ours = [func for func in calls if func.namespace == "pn_gpu"]
    assert ours == [torch.ops.pn_gpu.dense_weight.default, torch.ops.pn_gpu.dense_weight_backward.default]
    assert all(p.grad is not None for p in layer.in_particles.parameters())


def test_compiled():
    layer = ParticleLinear(5, 4, dim=2, dtype=torch.float64)

    def energy():
        return layer.weight.square().sum()

    want = torch.autograd.grad(energy(), list(layer.in_particles.parameters()))
    got = torch.autograd.grad(torch.compile(energy, backend="aot_eager")(), list(layer.in_particles.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "write",
    [
        lambda w: nn.init.xavier_uniform_(w),
        lambda w: w.data.normal_(),
        lambda w: w[0].zero_(),
        lambda w: w.T.mul_(2),
        lambda w: w.__setitem__(0, 0.0),
        lambda w: w.requires_grad_(False),
        lambda w: setattr(w, "requires_grad", False),
        lambda w: setattr(w, "data", torch.zeros(4, 3)),
        lambda w: torch.zeros(4, 3, out=w),
        lambda w: w.__iadd__(1),
    ],
)
def test_writing_to_it_is_refused(write):
    layer = ParticleLinear(3, 4)
    with pytest.raises(RuntimeError, match=r"weight: got a write to it \(\w+\), want none: it is computed"):
        write(layer.weight)


def test_assigning_it_is_refused():
    layer = ParticleLinear(3, 4)
    for value in (torch.zeros(4, 3), nn.Parameter(torch.zeros(4, 3)), None):
        with pytest.raises(AttributeError, match="weight: got a new value, want none"):
            layer.weight = value


def test_reading_it_gives_plain_tensors():
    layer = ParticleLinear(3, 4)
    assert type(layer.weight) is ComputedWeight
    for result in (layer.weight + 1, layer.weight.clone(), layer.weight.norm(), torch.ones(2, 3) @ layer.weight.T):
        assert type(result) is torch.Tensor
    assert layer.weight.detach().numpy().shape == (4, 3)
    copy = layer.weight.detach().clone()
    copy.zero_()
    assert layer.weight.abs().sum() > 0
