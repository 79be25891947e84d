"""A particle layer in the place of a trained nn.Linear: its weights where they are those of particles, else a loss."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pn_gpu.nn import ParticleLinear


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weights_of_particles_are_found_again(bias, dtype):
    made = ParticleLinear(40, 30, 2, bias, dipole_dim=4, dtype=dtype, generator=generator())
    linear = made.to_dense().eval()
    layer = ParticleLinear.from_linear(linear, 2, 4, progress=False)
    x = torch.randn(50, 40, dtype=dtype, generator=generator())
    assert (layer(x) - linear(x)).norm() < 0.01 * linear(x).norm()  # 1000 steps of the fit in float32
    assert layer.dense_fit.errors[0] < 0.01
    assert "40 x 30: error" in str(layer.dense_fit)
    assert layer.in_particles.positions.dtype == dtype
    assert not layer.training
    assert (layer.bias is None) == (linear.bias is None)
    if bias:
        torch.testing.assert_close(layer.bias, linear.bias, rtol=0, atol=0)
        assert layer.bias is not linear.bias


def test_what_free_weights_lose_is_said_and_trained_away():
    linear = nn.Linear(20, 16)
    nn.init.normal_(linear.weight, generator=generator())
    before = copy.deepcopy(linear.state_dict())
    layer = ParticleLinear.from_linear(linear, 2, 3, steps=300, seed=1, progress=False)
    error = float((layer.weight - linear.weight).detach().norm() / linear.weight.detach().norm())
    assert error == pytest.approx(layer.dense_fit.errors[0], rel=1e-4)
    assert 0.3 < error < 1
    x = torch.randn(500, 20, generator=generator())
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    losses = []
    for _ in range(50):
        loss = (layer(x) - linear(x).detach()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in linear.state_dict().items())
    assert copy.deepcopy(layer).dense_fit.errors == layer.dense_fit.errors
    assert ParticleLinear(3, 2).dense_fit is None


def test_sixteen_bits_become_float32():
    linear = nn.Linear(6, 5).to(torch.bfloat16)
    layer = ParticleLinear.from_linear(linear, 1, 2, steps=5, progress=False)
    assert layer.bias.dtype == layer.in_particles.dipoles.dtype == torch.float32
    np.testing.assert_array_equal(layer.bias.detach(), linear.bias.detach().float())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ParticleLinear.from_linear(nn.ReLU()), TypeError, "linear: got ReLU, want a torch.nn.Linear"),
        (lambda: ParticleLinear.from_linear(filled(0.0)), ValueError, "linear: got weights that are not finite or all"),
        (lambda: ParticleLinear.from_linear(filled(np.nan)), ValueError, "linear: got weights that are not finite"),
        (lambda: ParticleLinear.from_linear(nn.Linear(3, 2), 0), ValueError, "dim: got 0"),
        (lambda: ParticleLinear.from_linear(nn.Linear(3, 2), 1, 0), ValueError, "dipole_dim: got 0"),
        (lambda: ParticleLinear.from_linear(nn.Linear(3, 2), steps=0), ValueError, "steps: got 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def filled(value):
    linear = nn.Linear(3, 2)
    nn.init.constant_(linear.weight, value)
    return linear
