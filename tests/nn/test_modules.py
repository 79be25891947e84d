"""Particles, ParticleLinear and ParticleMLP as torch modules."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle

import pytest
import torch
from torch import nn

import pn_gpu as pn
from pn_gpu.nn import ParticleLinear, ParticleMLP, Particles, gradient_bytes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_initial_particles():
    particles = Particles(20000, 2, 3, generator=seeded())
    assert particles.positions.shape == (20000, 2)
    assert particles.dipoles.shape == (20000, 3)
    # The standard error of a standard deviation of 40000 draws is 0.5 / sqrt(80000) = 0.0018.
    assert abs(particles.positions.std().item() - 0.5) < 0.009
    assert abs(particles.positions.mean().item()) < 0.0125
    torch.testing.assert_close(particles.dipoles.norm(dim=1), torch.ones(20000))
    # Directions are uniform: their second moments are a third of the identity.
    second = particles.dipoles.T @ particles.dipoles / 20000
    torch.testing.assert_close(second, torch.eye(3) / 3, rtol=0, atol=0.015)


def test_initial_bias_is_glorot_uniform():
    layer = ParticleLinear(300, 2000, generator=seeded())
    bound = math.sqrt(6 / 2300)
    assert layer.bias.abs().max().item() <= bound
    assert layer.bias.abs().max().item() > 0.99 * bound
    assert abs(layer.bias.std().item() - bound / math.sqrt(3)) < 0.03 * bound


def test_generator_decides_the_start():
    one, two = (ParticleMLP([5, 4, 3], generator=seeded(7)) for _ in range(2))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    first = one.layers[0].in_particles.positions.clone()
    one.reset_parameters(seeded(8))
    assert not torch.equal(first, one.layers[0].in_particles.positions)


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,)])
def test_layer_is_the_operator_and_its_dense_layer(lead):
    layer = ParticleLinear(7, 5, dim=2, dtype=torch.float64)
    x = torch.randn(*lead, 7, dtype=torch.float64)
    z = layer(x)
    assert z.shape == (*lead, 5)
    torch.testing.assert_close(z, pn.particle_linear(x, *layer._operands(), layer.bias))
    dense = layer.to_dense()
    assert isinstance(dense, nn.Linear)
    torch.testing.assert_close(dense(x), z)
    assert all(p.requires_grad for p in dense.parameters())
    torch.testing.assert_close(dense.weight, layer.weight)


def test_weight_is_differentiable():
    layer = ParticleLinear(6, 4, dtype=torch.float64, potential="triangle")
    x = torch.randn(3, 6, dtype=torch.float64)
    by_layer = torch.autograd.grad(layer(x).square().sum(), layer.parameters())
    dense = nn.functional.linear(x, layer.weight, layer.bias).square().sum()
    for a, b in zip(by_layer, torch.autograd.grad(dense, layer.parameters()), strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        assert not layer.weight.requires_grad
        torch.testing.assert_close(layer.weight.T, pn.dense_weight(*layer._operands(), "triangle"))


def test_without_bias():
    layer = ParticleLinear(7, 5, bias=False)
    assert layer.bias is None
    assert layer.to_dense().bias is None
    assert "bias" not in layer.state_dict()
    torch.testing.assert_close(layer(torch.zeros(7)), torch.zeros(5))


def test_drops_in_for_linear():
    """In a stock encoder, whose fast path looks into the layers it finds."""
    encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0).eval()
    encoder.linear1, encoder.linear2 = ParticleLinear(16, 32), ParticleLinear(32, 16)
    x = torch.randn(2, 3, 16)
    z = encoder(x)
    z.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    dense = copy.deepcopy(encoder)
    dense.linear1, dense.linear2 = encoder.linear1.to_dense(), encoder.linear2.to_dense()
    torch.testing.assert_close(dense(x), z)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), z.detach())
    linear = nn.Linear(16, 32)
    for name in ("in_features", "out_features"):
        assert getattr(encoder.linear1, name) == getattr(linear, name)
    assert encoder.linear1.bias.shape == linear.bias.shape
    assert encoder.linear1.weight.shape == linear.weight.shape


@pytest.mark.parametrize(
    ("sizes", "dim", "count"),
    [([784, 10], 2, 3186), ([784, 10], 3, 4774), ([784, 512, 10], 2, 5746), ([784, 512, 10], 3, 8358)],
)
def test_parameter_counts(sizes, dim, count):
    """Equations 5 and 6 of the paper."""
    model = ParticleMLP(sizes, dim)
    dense = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    assert model.num_parameters == count == sum(p.numel() for p in model.parameters())
    assert model.num_dense_parameters == dense == sum(p.numel() for p in model.to_dense().parameters())
    assert f"{count:,}" in repr(model)
    assert f"{dense:,}" in repr(model)
    assert len(model.particles) == len(sizes)
    assert gradient_bytes(model) == 4 * count


def test_repr_of_a_layer():
    text = repr(ParticleLinear(784, 10, dim=2, dipole_dim=3))
    assert "in_features=784, out_features=10, bias=True, potential=gaussian" in text
    assert "parameters=3,980 (a dense layer: 7,850)" in text
    assert "Particles(num=784, dim=2, dipole_dim=3)" in text


def test_shared_particles_add_up_their_gradients():
    shared = Particles(6, dtype=torch.float64)
    first, second = ParticleLinear(4, shared), ParticleLinear(shared, 5)
    x = torch.randn(3, 4, dtype=torch.float64)
    second(first(x).relu()).square().sum().backward()
    apart_first, apart_second = copy.deepcopy(first), copy.deepcopy(second)
    apart_first.zero_grad()
    apart_second.zero_grad()
    assert apart_first.out_particles is not apart_second.in_particles
    apart_second(apart_first(x).relu()).square().sum().backward()
    for name in ("positions", "dipoles"):
        parts = [getattr(p, name).grad for p in (apart_first.out_particles, apart_second.in_particles)]
        torch.testing.assert_close(getattr(shared, name).grad, sum(parts))


@pytest.mark.parametrize("share", [True, False])
def test_mlp_shares_by_default(share):
    model = ParticleMLP([6, 5, 4, 3], dim=2, share_particles=share)
    assert len(model.particles) == (4 if share else 6)
    assert (model.layers[0].out_particles is model.layers[1].in_particles) == share
    x = torch.randn(2, 6)
    hidden = x
    for layer in model.layers[:2]:
        hidden = layer(hidden).relu()
    torch.testing.assert_close(model(x), model.layers[2](hidden))
    torch.testing.assert_close(model.to_dense()(x), model(x))


def test_mlp_activation_and_training_flag():
    model = ParticleMLP([6, 5, 4, 3], activation=lambda: nn.Dropout(0.5)).eval()
    x = torch.randn(2, 6)
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)
    dense = model.to_dense()
    assert not dense.training
    torch.testing.assert_close(dense(x), model(x))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_keep_sharing(clone):
    model = ParticleMLP([6, 5, 3], potential="lorentzian")
    twin = clone(model)
    assert twin.layers[0].out_particles is twin.layers[1].in_particles
    assert twin.layers[0].in_particles is not model.layers[0].in_particles
    x = torch.randn(2, 6)
    torch.testing.assert_close(twin(x), model(x), rtol=0, atol=0)
    with torch.no_grad():
        twin.layers[0].out_particles.positions += 1
    assert not torch.equal(twin(x), model(x))


def test_state_dict_round_trip():
    model, other = ParticleMLP([6, 5, 3]), ParticleMLP([6, 5, 3])
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.layers[0].out_particles is other.layers[1].in_particles
    x = torch.randn(2, 6)
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        ParticleMLP([6, 4, 3]).load_state_dict(model.state_dict())


@pytest.mark.parametrize("cast", [lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.to(torch.bfloat16)])
def test_16_bit_casts_keep_particles_in_float32(cast):
    model = nn.Sequential(ParticleMLP([6, 5, 3]), nn.Linear(3, 2))
    before = model[0](torch.ones(6))
    dtype = cast(model)[1].weight.dtype
    assert dtype in (torch.float16, torch.bfloat16)
    assert {p.dtype for p in model[0].parameters()} == {torch.float32}
    assert model(torch.ones(6, dtype=dtype)).dtype == dtype
    torch.testing.assert_close(model[0](torch.ones(6)), before, rtol=0, atol=0)
    assert {p.dtype for p in model.double().parameters()} == {torch.float64}
    assert {p.dtype for p in cast(model)[0].parameters()} == {torch.float32}


def test_device_moves():
    model = ParticleMLP([6, 5, 3])
    model.to("meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}
    model.to_empty(device="cpu")
    model.reset_parameters(seeded())
    assert model(torch.ones(2, 6)).isfinite().all()
    with torch.device("meta"):
        assert ParticleLinear(3, 4)(torch.ones(2, 3)).shape == (2, 4)
    layer = ParticleLinear(Particles(3, device="meta"), 4)
    assert {p.device.type for p in layer.parameters()} == {"meta"}


def test_default_dtype():
    try:
        torch.set_default_dtype(torch.float64)
        assert ParticleLinear(3, 4).bias.dtype == torch.float64
        torch.set_default_dtype(torch.bfloat16)
        assert Particles(3).positions.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_training_lowers_the_loss():
    model = ParticleMLP([8, 16, 3], generator=seeded())
    x = torch.randn(64, 8, generator=seeded(1))
    labels = x[:, :3].argmax(dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_bad_arguments():
    def refuses(error, message, make, *arguments, **keywords):
        with pytest.raises(error, match=message):
            make(*arguments, **keywords)

    refuses(ValueError, "num: got 0, want a whole number >= 1", Particles, 0)
    refuses(TypeError, "num: got 2.5", Particles, 2.5)
    refuses(ValueError, "dim: got 0", ParticleLinear, 3, 4, dim=0)
    refuses(ValueError, "dipole_dim: got -1", Particles, 3, dipole_dim=-1)
    refuses(
        TypeError,
        "dtype: got torch.float16, want torch.float32 or",
        ParticleLinear,
        3,
        4,
        dtype=torch.float16,
    )
    refuses(ValueError, "potential: got 'nope', want one of gaussian", ParticleLinear, 3, 4, potential="nope")
    refuses(ValueError, "method: got 'fast'", ParticleLinear, 3, 4, method="fast")
    refuses(ValueError, "rtol: got nan", ParticleLinear, 3, 4, rtol=float("nan"))
    refuses(ValueError, "input_precision: got 'fp8'", ParticleLinear, 3, 4, input_precision="fp8")
    refuses(TypeError, "bias: got 1", ParticleLinear, 3, 4, bias=1)
    refuses(
        ValueError,
        "out_features: got particles of dim 2, want 3",
        ParticleLinear,
        Particles(3),
        Particles(4, 2),
    )
    refuses(
        ValueError,
        "out_features: got particles of dipole_dim 2, want 3",
        ParticleLinear,
        Particles(3),
        Particles(4, 3, 2),
    )
    doubles = Particles(4, dtype=torch.float64)
    refuses(TypeError, "out_features: got particles of dtype torch.float64", ParticleLinear, Particles(3), doubles)
    meta = Particles(4, device="meta")
    refuses(ValueError, "out_features: got particles of device meta", ParticleLinear, Particles(3), meta)
    refuses(ValueError, "sizes: got 1 of them", ParticleMLP, [3])
    refuses(TypeError, "sizes: got 3", ParticleMLP, 3)
    refuses(ValueError, r"sizes\[1\]: got 0", ParticleMLP, [3, 0])
    refuses(TypeError, "activation: got ReLU", ParticleMLP, [3, 4], activation=nn.ReLU())
    refuses(TypeError, "share_particles: got 'no'", ParticleMLP, [3, 4], share_particles="no")


def test_bad_inputs():
    layer = ParticleLinear(3, 4)

    def refuses(error, message, x):
        with pytest.raises(error, match=message):
            layer(x)

    refuses(TypeError, "x: got list, want a torch tensor", [1.0, 2.0, 3.0])
    refuses(ValueError, r"x: got shape \(2, 4\), want \[\.\.\., 3\]", torch.ones(2, 4))
    refuses(ValueError, r"x: got shape \(\), want", torch.tensor(1.0))
    refuses(TypeError, "x: got dtype torch.int64, want torch.float32", torch.ones(2, 3, dtype=torch.int64))
    refuses(TypeError, "x: got dtype torch.float64, want torch.float32", torch.ones(2, 3, dtype=torch.float64))
    refuses(ValueError, "x: got device meta, want cpu", torch.ones(2, 3, device="meta"))
    refuses(TypeError, "x: got layout torch.sparse_coo", torch.ones(2, 3).to_sparse())
    with pytest.raises(TypeError, match=r"x: got dtype torch\.bfloat16"):
        layer.double()(torch.ones(2, 3, dtype=torch.bfloat16))
