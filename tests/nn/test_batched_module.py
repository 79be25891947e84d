"""Several particle layers as one module: each set is the layer it stands for."""

from __future__ import annotations

import copy

import pytest
import torch

from pn_gpu.nn import BatchedParticleLinear, ParticleLinear

SETS, BATCH, SIZES = 3, 5, (7, 4)
OPTIONS = [{}, {"bias": False}, {"dim": 1, "dipole_dim": 4, "potential": "lorentzian"}]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(**options):
    return BatchedParticleLinear(SETS, *SIZES, generator=seeded(), dtype=torch.float64, **options)


@pytest.fixture
def x():
    return torch.randn(SETS, BATCH, SIZES[0], dtype=torch.float64, generator=seeded(1), requires_grad=True)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_set_is_a_layer(options, x):
    batched = make(**options)
    layers = batched.to_layers()
    z = batched(x)
    want = torch.stack([layer(x[s]) for s, layer in enumerate(layers)])
    torch.testing.assert_close(z, want, rtol=1e-12, atol=1e-14)
    z.square().sum().backward()
    got = {name: p.grad for name, p in batched.named_parameters()}
    gradient_of_x, x.grad = x.grad, None
    torch.stack([layer(x[s]) for s, layer in enumerate(layers)]).square().sum().backward()
    torch.testing.assert_close(gradient_of_x, x.grad)
    for s, layer in enumerate(layers):
        torch.testing.assert_close(got["in_positions"][s], layer.in_particles.positions.grad)
        torch.testing.assert_close(got["out_dipoles"][s], layer.out_particles.dipoles.grad)
    for linear, layer in zip(batched.to_dense(), layers, strict=True):
        torch.testing.assert_close(linear.weight, layer.weight.as_subclass(torch.Tensor))


@pytest.mark.parametrize("options", OPTIONS)
def test_it_starts_as_independent_layers(options):
    generator = seeded()
    layers = [ParticleLinear(*SIZES, generator=generator, dtype=torch.float64, **options) for _ in range(SETS)]
    batched, stacked = make(**options), BatchedParticleLinear.from_layers(layers)
    assert batched.state_dict().keys() == stacked.state_dict().keys()
    for name, value in stacked.state_dict().items():
        assert torch.equal(batched.state_dict()[name], value)
    assert batched.num_parameters == sum(layer.num_parameters for layer in layers)
    assert f"num_sets=3, in_features=7, out_features=4, bias={options.get('bias', True)}" in repr(batched)


def test_state_copies_and_casts(x):
    batched, other = make(), BatchedParticleLinear(SETS, *SIZES, dtype=torch.float64)
    other.load_state_dict(batched.state_dict())
    torch.testing.assert_close(other(x), batched(x))
    torch.testing.assert_close(copy.deepcopy(batched)(x), batched(x))
    half = BatchedParticleLinear(SETS, *SIZES, generator=seeded()).to(torch.bfloat16)
    assert half.in_positions.dtype == torch.float32
    assert half(x.detach().bfloat16()).dtype == torch.bfloat16


def test_one_input_for_all_sets(x):
    batched = make()
    torch.testing.assert_close(batched(x[:1].expand(SETS, -1, -1))[1], batched.to_layers()[1](x[0]))
    with pytest.raises(ValueError, match="x: got shape"):
        batched(x[0])


def test_bad_input_names_itself():
    layer = ParticleLinear(7, 4, dim=2)
    for call, error, message in (
        (lambda: BatchedParticleLinear(0, 7, 4), ValueError, "num_sets: got 0"),
        (lambda: BatchedParticleLinear(2, 0, 4), ValueError, "in_features: got 0"),
        (lambda: BatchedParticleLinear(2, 7, layer.out_particles), TypeError, "out_features: got"),
        (lambda: BatchedParticleLinear(2, 7, 4, input_precision="tf32"), TypeError, "input_precision"),
        (lambda: BatchedParticleLinear(2, 7, 4, method="fast"), ValueError, "method: got 'fast'"),
        (lambda: BatchedParticleLinear.from_layers([]), ValueError, "layers: got none"),
        (lambda: BatchedParticleLinear.from_layers([layer, torch.nn.Linear(7, 4)]), TypeError, "layers: got Linear"),
        (lambda: BatchedParticleLinear.from_layers([layer, ParticleLinear(7, 5, dim=2)]), ValueError, r"layers\[1\]"),
    ):
        with pytest.raises(error, match=message):
            call()
