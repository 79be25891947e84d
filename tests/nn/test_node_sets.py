"""Node sets as parts of a layer: called as modules, exchanged, and given beside other arguments."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pn_gpu.nn import ParticleLinear, ParticleMLP, Particles, shared_particles


def test_a_node_set_returns_its_particles():
    particles = Particles(3, 2)
    assert particles() == (particles.positions, particles.dipoles)


def test_hooks_of_node_sets_see_them_used():
    model = ParticleMLP([4, 3, 2])
    calls = []
    for index, particles in enumerate(model.particles):
        particles.register_forward_pre_hook(lambda *_, index=index: calls.append(index))
    model(torch.ones(2, 4))
    assert calls == [0, 1, 1, 2]


def test_a_hook_may_free_the_parameters():
    """As those of FSDP do after the call: what the layer works with is its own."""
    layer, x = ParticleLinear(4, 3), torch.randn(2, 4)
    want = layer(x).detach()

    def free(particles, *_):
        with torch.no_grad():
            particles.positions.fill_(torch.nan)

    layer.in_particles.register_forward_hook(free)
    z = layer(x)
    torch.testing.assert_close(z.detach(), want, rtol=0, atol=0)
    z.sum().backward()
    assert layer.in_particles.positions.grad.isfinite().all()


def test_exchanged_node_sets():
    layer = ParticleLinear(4, 3, dim=2, method="mehler")
    layer.in_particles = Particles(6, 2)
    assert layer(torch.ones(2, 6)).shape == (2, 3)
    for wrong, error, message in (
        (Particles(6, 3), ValueError, "out_particles: got dim 2, want 3 like in_particles"),
        (Particles(6, 2, 3), ValueError, "out_particles: got dipole_dim 2, want 3"),
        (Particles(6, 2, dtype=torch.float64), TypeError, "out_particles: got dtype torch.float32, want torch.float64"),
        (Particles(6, 2, device="meta"), ValueError, "out_particles: got device cpu, want meta"),
    ):
        layer.in_particles = wrong
        with pytest.raises(error, match=message):
            layer(torch.ones(2, 6))
    layer.in_particles, layer.out_particles = Particles(6, 2), Particles(5, 2)
    with pytest.raises(ValueError, match="bias: got 3 of them, want 5"):
        layer(torch.ones(2, 6))


def test_an_exchanged_node_set_is_planned_for_anew():
    layer = ParticleLinear(700, 600, dim=2, method="mehler")
    layer(torch.ones(2, 700))
    assert layer.planner.current is not None
    layer.out_particles = Particles(600, 2)
    assert layer.planner.current is None


@pytest.mark.parametrize("value", [None, nn.Linear(2, 3), torch.ones(3, 2)])
def test_what_is_no_node_set(value):
    with pytest.raises(TypeError, match=r"in_particles: got \w+, want Particles"):
        ParticleLinear(2, 3).in_particles = value


def test_dimensions_beside_given_particles():
    assert ParticleLinear(Particles(5, 2, 4), 3, dim=2, dipole_dim=4).out_particles.dipole_dim == 4
    assert ParticleLinear(5, 3).in_particles.dim == 3
    with pytest.raises(ValueError, match="dim: got 3, want 2 like the particles"):
        ParticleLinear(Particles(5, 2), 4, dim=3)
    with pytest.raises(ValueError, match="dipole_dim: got 2, want 4 like the particles"):
        ParticleLinear(5, Particles(5, 2, 4), dipole_dim=2)


@pytest.mark.parametrize("make", [ParticleLinear, lambda *sizes, **settings: ParticleMLP(sizes, **settings)])
def test_method_and_potential_that_do_not_fit(make):
    with pytest.raises(ValueError, match='method: got "mehler" with the potential \'lorentzian\', want "gaussian"'):
        make(3, 4, method="mehler", potential="lorentzian")


def test_names_of_shared_node_sets():
    model = nn.ModuleDict({"stack": ParticleMLP([4, 3, 2, 2]), "apart": ParticleMLP([4, 3, 2], share_particles=False)})
    assert shared_particles(model) == {
        "stack.layers.1.in_particles": "stack.layers.0.out_particles",
        "stack.layers.2.in_particles": "stack.layers.1.out_particles",
    }
    assert shared_particles(ParticleLinear(4, 3)) == {}


def test_what_may_not_be_drawn_anew_stays(monkeypatch):
    """transformers exchanges the functions of torch.nn.init while it initialises what a checkpoint lacks."""
    layer = ParticleLinear(4, 3)
    with torch.no_grad():
        layer.in_particles.dipoles *= 3
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    kept = {id(layer.bias), id(layer.in_particles.positions), id(layer.in_particles.dipoles)}
    for name in ("normal_", "uniform_"):
        draw = getattr(nn.init, name)
        guarded = lambda t, *args, draw=draw, **options: t if id(t) in kept else draw(t, *args, **options)  # noqa: E731
        monkeypatch.setattr(nn.init, name, guarded)
    layer.reset_parameters()
    unchanged = {name for name, p in layer.named_parameters() if torch.equal(p, before[name])}
    assert unchanged == {"bias", "in_particles.positions", "in_particles.dipoles"}
    lengths = torch.full((3,), layer.out_particles.dipole_length)
    torch.testing.assert_close(layer.out_particles.dipoles.norm(dim=1), lengths)
