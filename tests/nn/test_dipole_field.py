"""A node set whose dipoles are a field: its numbers are the parameters, and whatever takes Particles takes it."""

import copy
import pickle

import numpy as np
import pytest
import torch

import pn_gpu as pn
from pn_gpu.nn import (
    ColwiseParticleParallel,
    DipoleField,
    ParticleLinear,
    ParticleMLP,
    calibrate,
    parameter_groups,
    with_inputs,
)

POSITIONS, PLACES = pn.grid_positions((4, 5)), pn.grid_positions((2, 3))
X = torch.rand(30, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def generator():
    return torch.Generator().manual_seed(0)


def field(**options):
    return DipoleField(POSITIONS, PLACES, 4, **({"dtype": torch.float64, "generator": generator()} | options))


def mlp(**options):
    options = {"share_particles": False, "dipole_dim": 4, "dtype": torch.float64, "dipole_places": PLACES} | options
    return ParticleMLP([20, 8, 3], positions=POSITIONS, generator=generator(), **options)


def test_its_numbers_are_the_parameters():
    nodes = field()
    assert {name: tuple(p.shape) for name, p in nodes.named_parameters()} == {"dipole_values": (6, 4)}
    assert set(nodes.state_dict()) == {"positions", "dipole_places", "dipole_values"}
    matrix = pn.interpolation_matrix(PLACES, POSITIONS)
    np.testing.assert_allclose(nodes.dipoles.detach(), matrix @ nodes.dipole_values.detach().numpy(), rtol=1e-12)
    assert "dipoles interpolated between 6 places" in repr(nodes)
    model = mlp()
    assert model.num_parameters == 6 * 4 + 2 * 8 * 6 + 3 * 6 + 8 + 3
    assert isinstance(model.layers[0].in_particles, DipoleField)


def test_gradients():
    linear = ParticleLinear(field(), 6, dtype=torch.float64, generator=generator())
    values = linear.in_particles.dipole_values.detach().clone().requires_grad_()

    def forward(values, x):
        return torch.func.functional_call(linear, {"in_particles.dipole_values": values}, (x,))

    assert torch.autograd.gradcheck(forward, (values, X[:4].clone().requires_grad_()))


def test_it_is_the_network_of_numpy():
    model = mlp()
    net = pn.ParticleNetwork(
        [20, 8, 3],
        positions=POSITIONS,
        dipole_places=PLACES,
        dipole_dim=4,
        shared=False,
        output="linear",
        dtype="float64",
        backend="numpy",
    )
    for index, nodes in enumerate(model.particles):
        for name, parameter in nodes.named_parameters():
            setattr(net.particles[index], name, parameter.detach().numpy())
    for index, linear in enumerate(model.layers):
        net.layers[index].bias = linear.bias.detach().numpy()
    np.testing.assert_allclose(model(X).detach(), net.predict(X.numpy()), rtol=1e-10)
    np.testing.assert_allclose(model.to_dense()(X).detach(), net.predict(X.numpy()), rtol=1e-10)
    model(X).square().sum().backward()
    gradient = net.loss_and_gradient(X.numpy(), np.zeros((30, 3)))[1].particles[0].dipole_values
    # Half the squares, and their mean over the batch.
    np.testing.assert_allclose(model.layers[0].in_particles.dipole_values.grad / 60, gradient, rtol=1e-9)
    places = pn.grid_positions((3, 3))
    changed, want = with_inputs(model, places), pn.with_inputs(net, places)
    x = np.random.default_rng(0).random((5, 9))
    np.testing.assert_allclose(changed(torch.tensor(x)).detach(), want.predict(x), rtol=1e-9)
    assert changed.layers[0].in_particles.dipoles.requires_grad


def test_it_starts_at_unit_scale():
    x = torch.randn(200, 400, generator=generator())
    positions, places = (pn.grid_positions((count, count), 1) for count in (20, 5))
    nodes = DipoleField(positions, places, 8, generator=generator())
    assert 0.7 < nodes.dipoles.square().sum(1).mean() < 1.4
    linear = ParticleLinear(nodes, 300, bias=False, generator=generator())
    assert 0.3 < linear(x).std() < 3
    calibrate(linear, x, output_size=1.0)
    torch.testing.assert_close(linear(x).square().mean().sqrt(), torch.tensor(1.0))


def test_as_an_output_set_it_is_scaled_too():
    linear = ParticleLinear(7, field(), bias=False, dtype=torch.float64)
    x = torch.randn(50, 7, dtype=torch.float64)
    before = linear(x)
    linear.scale_outputs(3.0)
    torch.testing.assert_close(linear(x), 3 * before)


def test_steps_are_in_proportion_to_its_numbers():
    model = mlp()
    with torch.no_grad():
        model.layers[0].in_particles.dipole_values.mul_(100)
    rates = {p: group["lr"] for group in parameter_groups(model, 1.0) for p in group["params"]}
    assert rates[model.layers[0].in_particles.dipole_values] > 50


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_casts(make):
    model = mlp(dtype=torch.float32)
    other = make(model)
    torch.testing.assert_close(other(X.float()), model(X.float()), rtol=0, atol=0)
    assert other.half().layers[0].in_particles.dipoles.dtype == torch.float32
    assert other.double().layers[0].in_particles.dipoles.dtype == torch.float64


def test_a_state_brings_its_places():
    model, other = mlp(), mlp(dipole_places=PLACES + 0.3)
    assert not torch.equal(other(X), model(X))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(X), model(X), rtol=0, atol=0)


def test_it_is_drawn_anew():
    model = mlp()
    before = model.layers[0].in_particles.dipole_values.detach().clone()
    model.reset_parameters(torch.Generator().manual_seed(1))
    nodes = model.layers[0].in_particles
    assert not torch.equal(nodes.dipole_values, before)
    torch.testing.assert_close(nodes.dipole_values.norm(dim=1).detach(), before.norm(dim=1))
    with torch.device("meta"):
        assert mlp().layers[0].in_particles.dipole_values.is_meta


def test_compiled_and_hooked():
    model = mlp()
    seen = []
    model.layers[0].in_particles.register_forward_hook(lambda module, args, out: seen.append(out))
    want = mlp()(X)
    torch.testing.assert_close(model(X), want)
    np.testing.assert_array_equal(seen[0][0], POSITIONS)
    torch.testing.assert_close(torch.compile(mlp(), backend="eager", fullgraph=True)(X), want)


def _split(linear):
    return ColwiseParticleParallel()._apply(linear, None)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: DipoleField(POSITIONS, PLACES[:, :1]),
            ValueError,
            r"dipole_places: got shape \[6, 1\], want \[N, 2\]",
        ),
        (lambda: DipoleField(POSITIONS, PLACES * np.nan), ValueError, "dipole_places: got .* want finite"),
        (lambda: DipoleField(20, PLACES), TypeError, "positions: got int"),
        (lambda: DipoleField(POSITIONS, PLACES, 0), ValueError, "dipole_dim: got 0"),
        (lambda: _split(ParticleLinear(field(), 3)), TypeError, "module: got one with a DipoleField, want Particles"),
        (lambda: ParticleMLP([20, 3], dipole_places=PLACES), ValueError, "dipole_places: got some without positions"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
