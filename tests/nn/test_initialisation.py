"""torch modules at unit scale: by formula when made, by `calibrate` on data, and steps that fit."""

import math

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from pn_gpu.nn import ParticleLinear, ParticleMLP, Particles, calibrate, parameter_groups  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def size(z):
    return z.square().mean().sqrt().item()


def without_bias(layer, x):
    return layer(x) - layer.bias


@pytest.mark.parametrize("sizes", [(784, 10), (784, 512, 10), (784, 2048, 2048, 10), (784, *(64,) * 8, 10)])
@pytest.mark.parametrize("share_particles", [True, False])
def test_initial_loss_is_that_of_no_information(sizes, share_particles):
    mlp = ParticleMLP(sizes, 2, nn.LeakyReLU, dipole_dim=4, share_particles=share_particles)
    x, labels = torch.rand(64, 784) * (torch.rand(64, 784) < 0.2), torch.randint(10, (64,))
    for calibrated in (False, True):
        if calibrated:
            calibrate(mlp, x)
        assert abs(nn.functional.cross_entropy(mlp(x), labels).item() - math.log(10)) < 0.5


def test_the_papers_lengths_on_request():
    for module in (ParticleMLP([30, 20, 5], initialisation="paper"), ParticleLinear(30, 20, initialisation="paper")):
        for nodes in (each for each in module.modules() if isinstance(each, Particles)):
            torch.testing.assert_close(nodes.dipoles.norm(dim=1), torch.ones(nodes.num))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, lambda: nn.Softmax(dim=-1)])
@pytest.mark.parametrize("potential", ["gaussian", "wendland_c2"])
def test_formula_knows_activation_and_potential(activation, potential):
    mlp = ParticleMLP([50, 200, 200, 100], 3, activation, potential=potential)
    x = torch.randn(200, 50)
    z1 = without_bias(mlp.layers[0], x)
    z2 = without_bias(mlp.layers[1], mlp.activations[0](mlp.layers[0](x)))
    # Narrow kernels have few neighbours among 200 particles, which the formula takes for many: within a factor of two.
    for z in (z1, z2):
        assert 0.5 < size(z) < 2


def test_lengths_outlive_a_reset():
    mlp = ParticleMLP([30, 200, 200, 10])
    lengths = [nodes.dipoles.norm(dim=1)[0].item() for nodes in mlp.particles]
    assert len(set(lengths)) == 4
    mlp.reset_parameters()
    for nodes, length in zip(mlp.particles, lengths, strict=True):
        torch.testing.assert_close(nodes.dipoles.norm(dim=1), torch.full((nodes.num,), length))


def test_new_sets_fit_given_ones():
    given = Particles(300, 2)
    x = torch.randn(100, 300)
    assert size(without_bias(ParticleLinear(300, given, 2), torch.randn(100, 300))) == pytest.approx(1, rel=0.3)
    torch.testing.assert_close(given.dipoles.norm(dim=1), torch.ones(300))
    below = ParticleLinear(300, given, 2)
    above = ParticleLinear(given, 40)
    assert size(without_bias(above, below(x).relu())) == pytest.approx(1, rel=0.4)


class Model(nn.Module):
    """Particle layers among others: a norm with statistics, dropout, a residual, a tied set, one that is not called."""

    def __init__(self):
        super().__init__()
        self.first = ParticleLinear(12, 30, 2)
        self.norm = nn.BatchNorm1d(30)
        self.drop = nn.Dropout(0.5)
        self.second = ParticleLinear(self.first.out_particles, 30)
        self.back = ParticleLinear(self.second.out_particles, self.first.in_particles)
        self.idle = ParticleLinear(5, 4)

    def forward(self, x, scale=1.0):
        h = self.drop(self.norm(self.first(x)).relu())
        h = h + self.second(h).relu()
        return scale * self.back(h)


def test_calibrate_any_model():
    model, x = Model(), 7 * torch.randn(50, 12) + 1
    statistics = model.norm.running_mean.clone()
    sizes = {}
    factors = calibrate(model, x, scale=2.0, output_size=0.25)
    assert list(factors) == ["first", "second", "back", "idle"]
    assert factors["back"] == factors["idle"] == 1.0  # the tied set had been used, the other was not called
    assert factors["first"] < 0.5
    assert model.training
    assert model.drop.training
    assert not model.first._forward_hooks
    torch.testing.assert_close(model.norm.running_mean, statistics)

    for name in ("first", "second"):
        layer = getattr(model, name)
        layer.register_forward_hook(lambda module, _, z, name=name: sizes.update({name: size(z - module.bias)}))
    model.eval()(x)
    assert sizes["first"] == pytest.approx(1, rel=1e-4)
    assert sizes["second"] == pytest.approx(0.25, rel=1e-4)  # the last one that was scaled


def test_calibrate_a_layer_of_a_sequence():
    layer = ParticleLinear(8, 20, 3)
    factors = calibrate(layer, x := torch.randn(2, 5, 8), output_size=1.0)
    assert list(factors) == [""]
    assert size(without_bias(layer, x)) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("x", [torch.zeros(9, 6), torch.ones(9, 6), torch.randn(1, 6), torch.randn(6)])
def test_inputs_that_cannot_tell(x):
    mlp = ParticleMLP([6, 5, 4])
    before = [p.clone() for p in mlp.parameters()]
    assert set(calibrate(mlp, x).values()) == {1.0}
    for parameter, old in zip(mlp.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), old, rtol=0, atol=0)


def test_an_error_in_the_model_leaves_no_hooks():
    mlp = ParticleMLP([6, 5, 4])
    with pytest.raises(ValueError, match="x: "):
        calibrate(mlp, torch.randn(9, 7))
    assert not any(layer._forward_hooks for layer in mlp.layers)
    assert mlp.training


def test_a_planned_layer_plans_anew():
    layer = ParticleLinear(400, 400, 1, method="mehler", dipole_dim=2)
    x = torch.randn(64, 400)
    layer(x)
    calibrate(layer, 100 * x, output_size=1.0)
    direct = ParticleLinear(layer.in_particles, layer.out_particles, method="direct")
    with torch.no_grad():
        direct.bias.copy_(layer.bias)
        assert size(layer(x) - direct(x)) < 3e-3 * size(direct(x))


def test_parameter_groups_follow_the_size_of_dipoles():
    model = nn.Sequential(nn.Linear(6, 5), ParticleLinear(5, 4, 2), nn.ReLU(), ParticleLinear(4, 300, 2))
    with torch.no_grad():
        model[3].out_particles.dipoles.mul_(1e-3)
    groups = parameter_groups(model, 0.01)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters())) == sum(len(group["params"]) for group in groups)
    assert rates[id(model[0].weight)] == rates[id(model[1].in_particles.positions)] == 0.01
    for nodes in (each for each in model.modules() if isinstance(each, Particles)):
        length = nodes.dipoles.norm(dim=1).square().mean().sqrt().item()
        assert 2**-0.5 <= rates[id(nodes.dipoles)] / (0.01 * 8 / 2 * length) <= 2**0.5
    before = model[3].out_particles.dipoles.clone()
    optimizer = torch.optim.Adam(groups)
    model(torch.randn(8, 6)).square().mean().backward()
    optimizer.step()
    moved = (model[3].out_particles.dipoles - before).norm(dim=1) / before.norm(dim=1)
    assert moved.max() < 0.1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ParticleMLP([3, 2], initialisation="he"), ValueError, "initialisation: got 'he'"),
        (lambda: ParticleLinear(3, 2, initialisation=None), ValueError, "initialisation: got None"),
        (lambda: Particles(3, dipole_length=0), ValueError, "dipole_length: got 0"),
        (lambda: calibrate(nn.Linear(3, 2), torch.ones(4, 3)), ValueError, "model: got a Linear without a Particle"),
        (lambda: calibrate(ParticleLinear(3, 2), torch.ones(4, 3), output_size=0), ValueError, "output_size: got 0"),
        (lambda: parameter_groups(ParticleLinear(3, 2), -1), ValueError, "lr: got -1"),
        (lambda: parameter_groups(ParticleLinear(3, 2), 0.1, num_layers=0), ValueError, "num_layers: got 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_meta_device():
    mlp = ParticleMLP([30, 20, 10], device="meta")
    assert all(p.is_meta for p in mlp.parameters())
    mlp = mlp.to_empty(device="cpu")
    mlp.reset_parameters()
    assert size(mlp(torch.randn(50, 30))) < 2
