"""Modules whose input positions are given: a buffer, not a parameter, and exchanged by with_inputs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import pn_gpu as pn
from pn_gpu.nn import BatchedParticleLinear, ParticleLinear, ParticleMLP, Particles, gradient_bytes, with_inputs

PLACES = pn.grid_positions((4, 5))
X = torch.rand(30, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def mlp(places=PLACES, **options):
    generator = torch.Generator().manual_seed(0)
    options = {"share_particles": False, "dipole_dim": 4, "dtype": torch.float64} | options
    return ParticleMLP([len(places), 8, 3], positions=places, generator=generator, **options)


def test_they_are_a_buffer_that_no_optimiser_moves():
    model = mlp()
    nodes = model.layers[0].in_particles
    assert nodes.is_fixed
    assert not model.layers[0].out_particles.is_fixed
    assert "layers.0.in_particles.positions" in model.state_dict()
    assert "layers.0.in_particles.positions" not in dict(model.named_parameters())
    assert model.num_parameters == 20 * 4 + 2 * 8 * 6 + 3 * 6 + 8 + 3
    assert gradient_bytes(model) == 8 * model.num_parameters
    assert "fixed positions" in repr(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    before = nodes.dipoles.detach().clone()
    model(X).square().sum().backward()
    optimizer.step()
    assert (nodes.dipoles != before).any()
    model.reset_parameters()
    np.testing.assert_array_equal(nodes.positions, PLACES)


def test_gradients_are_those_of_trained_positions():
    fixed = ParticleLinear(20, 6, positions=PLACES, dtype=torch.float64)
    free = ParticleLinear(20, 6, 2, dtype=torch.float64)
    free.load_state_dict(fixed.state_dict())
    for layer in (fixed, free):
        layer(X).square().sum().backward()
    np.testing.assert_array_equal(fixed(X).detach(), free(X).detach())
    for name, parameter in fixed.named_parameters():
        np.testing.assert_array_equal(parameter.grad, free.get_parameter(name).grad)


def test_it_starts_at_unit_scale():
    x = torch.randn(200, 400, generator=torch.Generator().manual_seed(0))
    layer = ParticleLinear(
        400, 300, positions=pn.grid_positions((20, 20), 1), bias=False, generator=torch.Generator().manual_seed(0)
    )
    assert 0.5 < layer(x).std() < 2


def test_they_survive_casts_copies_and_files(tmp_path):
    model = mlp(dtype=torch.float32)
    half = copy.deepcopy(model).half()
    assert half.layers[0].in_particles.positions.dtype == torch.float32
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = mlp(PLACES + 1, dtype=torch.float32)
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    torch.testing.assert_close(other(X.float()), model(X.float()), rtol=0, atol=0)


def test_hooks_see_them():
    model = mlp()
    seen = []
    model.layers[0].in_particles.register_forward_hook(lambda module, args, out: seen.append(out))
    torch.testing.assert_close(model(X), mlp()(X))
    np.testing.assert_array_equal(seen[0][0], PLACES)


@pytest.mark.parametrize("places", [PLACES[::-1].copy(), PLACES[:7], pn.grid_positions((8, 10)), PLACES + 0.1])
@pytest.mark.parametrize("interpolation", ["kriging", "nearest"])
def test_other_inputs_are_those_of_the_network(places, interpolation):
    model = mlp()
    net = pn.ParticleNetwork(
        [20, 8, 3], positions=PLACES, dipole_dim=4, shared=False, output="linear", dtype="float64", backend="numpy"
    )
    for index, nodes in enumerate(model.particles):
        for name in ("positions", "dipoles"):
            setattr(net.particles[index], name, getattr(nodes, name).detach().numpy())
    for index, layer in enumerate(model.layers):
        net.layers[index].bias = layer.bias.detach().numpy()
    x = np.random.default_rng(0).random((9, len(places)))
    changed, want = with_inputs(model, torch.tensor(places), interpolation), pn.with_inputs(net, places, interpolation)
    assert changed.sizes == want.sizes == (len(places), 8, 3)
    np.testing.assert_allclose(changed(torch.tensor(x)).detach(), want.predict(x), rtol=1e-9, atol=1e-12)
    layer = with_inputs(model.layers[0], places, interpolation)
    assert layer.in_features == len(places)
    np.testing.assert_array_equal(layer.in_particles.positions, places)
    assert model.sizes == (20, 8, 3)
    assert changed.layers[1].in_particles is not model.layers[1].in_particles
    changed(torch.tensor(x)).sum().backward()
    assert changed.layers[0].in_particles.dipoles.grad is not None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Particles(20, positions=PLACES[:5]), ValueError, r"positions: got shape \[5, 2\], want \[20, n\]"),
        (lambda: Particles(20, 3, positions=PLACES), ValueError, r"positions: got shape \[20, 2\], want \[20, 3\]"),
        (lambda: ParticleLinear(20, 3, positions=PLACES * np.nan), ValueError, "positions: got .* want finite"),
        (lambda: ParticleLinear(Particles(20), 3, positions=PLACES), ValueError, "positions: got them beside"),
        (lambda: ParticleMLP([21, 3], positions=PLACES), ValueError, r"want \[21, n\]"),
        (lambda: BatchedParticleLinear(2, 20, 3, positions=PLACES), TypeError, "positions: got some, want none"),
        (
            lambda: BatchedParticleLinear.from_layers([ParticleLinear(20, 3, positions=PLACES)]),
            ValueError,
            "layers: got one with fixed positions",
        ),
        (lambda: with_inputs(nn.Linear(3, 3), PLACES), TypeError, "module: got Linear"),
        (lambda: with_inputs(ParticleLinear(20, 3), PLACES), ValueError, "trains its input positions"),
        (lambda: with_inputs(mlp(), PLACES[:, :1]), ValueError, r"want \[N, 2\]"),
        (lambda: with_inputs(mlp(), PLACES, "cubic"), ValueError, "interpolation: got 'cubic'"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
