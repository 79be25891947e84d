"""The fast method where a call is staged: compiled, transformed, exported; never O(N M) without a word."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch.func import functional_call, grad, hessian, jvp, vmap

import pn_gpu as pn
from pn_gpu.kernels import staging
from pn_gpu.kernels.mehler.packing import SHORTEST, pack, unpack
from pn_gpu.kernels.room import Direct
from pn_gpu.nn import ParticleLinear
from support import mehler as support

# Forward mode's own.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")

SIZE, BATCH = 600, 5


@pytest.fixture(autouse=True)
def _forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def layer():
    generator = torch.Generator().manual_seed(0)
    layer = ParticleLinear(SIZE, SIZE, dim=2, method="mehler", rtol=1e-2, generator=generator)
    layer(torch.zeros(1, SIZE))
    assert layer.planner.current.approximation is not None
    return layer


@pytest.fixture
def x():
    return torch.randn(BATCH, SIZE, generator=torch.Generator().manual_seed(1))


def gradients(function, layer, x):
    z = function(x)
    return [z, *torch.autograd.grad(z.square().mean(), list(layer.parameters()))]


def operators_in(graph):
    return {
        str(node.target) for node in graph.graph.nodes if node.op == "call_function" and "pn_gpu" in str(node.target)
    }


def test_a_compiled_layer_is_planned_when_it_runs(layer, x):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=0)
    assert operators_in(graphs[0]) == {"pn_gpu.planned_linear.default"}
    features = layer.planner.current.features
    with torch.no_grad():
        for particles in (layer.in_particles, layer.out_particles):
            particles.positions.mul_(2)
    layer.planner.reset()
    torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=0)
    assert layer.planner.current.features > features  # the same graph, another plan
    assert len(graphs) == 1


def test_its_gradient_is_that_of_the_eager_layer(layer, x):
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x.requires_grad_()
    for a, b in zip(gradients(compiled, layer, x), gradients(layer, layer, x), strict=True):
        torch.testing.assert_close(a, b)


def test_a_compiled_backward_goes_with_its_forward(layer, x):
    """Another plan between them changes nothing."""
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    want = gradients(layer, layer, x)[1:]
    z = compiled(x)
    layer.planner.rtol = 1e-4
    layer.planner.reset()
    compiled(x)
    got = torch.autograd.grad(z.square().mean(), list(layer.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


SECOND_ORDER = {
    "forward mode": lambda f: lambda x: jvp(f, (x,), (x.cos(),))[1],
    "grad of grad": lambda f: grad(lambda x: (grad(f)(x) * x.cos()).sum()),
    "forward over reverse": lambda f: lambda x: jvp(grad(f), (x,), (x.cos(),))[1],
    "gradients per sample": lambda f: vmap(grad(f)),
    "hessian": lambda f: lambda x: hessian(lambda a: f(x * a.repeat_interleave(SIZE // 2)))(x[0, :2]),
}


@pytest.mark.parametrize("transform", SECOND_ORDER)
def test_compiled_transforms_of_a_layer_in_training(layer, x, transform):
    """Its parameters want gradients: a graph of second derivatives has one of third ones ready."""
    function = SECOND_ORDER[transform](lambda x: layer(x).sin().sum())
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    got, want = compiled(x), function(x)
    assert want.abs().max() > 0
    of_got, of_want = (torch.autograd.grad(r.square().sum(), list(layer.parameters())) for r in (got, want))
    for a, b in zip((got, *of_got), (want, *of_want), strict=True):
        assert (a - b).norm() < 1e-5 * b.norm()  # float32, summed in another order


def test_residuals_go_with_the_backward_and_wait_only_for_one(layer, x):
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    staging._residuals.clear()
    with torch.no_grad():
        compiled(x)
    assert not staging._residuals
    z = compiled(x)
    assert len(staging._residuals) == 1
    z.sum().backward()
    assert not staging._residuals


def test_copies_plan_for_themselves(layer, x):
    other = copy.deepcopy(layer)
    assert other._chooser.number != layer._chooser.number
    assert staging.chooser_of(other._chooser.number).planner is other.planner


def test_a_graph_whose_layer_is_gone_says_so(layer):
    number = layer._chooser.number
    del layer._chooser
    with pytest.raises(RuntimeError, match="is gone"):
        staging.chooser_of(number)


def test_the_public_function_in_a_graph(x):
    case = ParticleLinear(SIZE, SIZE, dim=2, generator=torch.Generator().manual_seed(0))
    particles = [p.detach() for p in case._operands()]

    def function(x):
        return pn.particle_linear(x, *particles, method="mehler", rtol=1e-2)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x), rtol=0, atol=0)
    exact = pn.particle_linear(x, *particles, method="direct")
    assert 0 < (compiled(x) - exact).norm() / exact.norm() < 1e-2


def test_gradients_of_torch_func_are_planned(layer, x):
    def loss(parameters):
        return functional_call(layer, parameters, (x,)).square().mean()

    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    got = grad(loss)(parameters)
    want = gradients(layer, layer, x)[1:]
    for (name, _), b in zip(layer.named_parameters(), want, strict=True):
        torch.testing.assert_close(got[name], b)


def test_vmap_over_inputs_uses_the_plan(layer, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(vmap(layer)(x), layer(x))


def test_what_cannot_be_planned_is_said(x):
    case = ParticleLinear(SIZE, SIZE, dim=2, generator=torch.Generator().manual_seed(0))
    stacked = [p.detach().expand(2, -1, -1) for p in case._operands()]
    with pytest.warns(UserWarning, match=r"all 600 x 600 weights are computed"):
        vmap(lambda *p: pn.particle_linear(x, *p))(*stacked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(lambda *p: pn.particle_linear(x, *p, method="direct"))(*stacked)


@pytest.fixture
def captured(monkeypatch):
    """Tensors lie on a device whose stream is captured in a graph, where reading one would be an error."""
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(pn.MethodPlanner, "plan", lambda *a, **k: pytest.fail("read the particles"))
    monkeypatch.setattr("pn_gpu.planning.calls.recent_plan", lambda *a, **k: pytest.fail("read the particles"))
    monkeypatch.setattr(pn.Plan, "covers", lambda *a: pytest.fail("read the particles"))


def test_a_captured_layer_keeps_the_plan_it_has(layer, x, captured):
    with torch.no_grad():
        assert layer._how(x, layer._operands()).approximation is layer.planner.current.approximation


def test_a_captured_layer_in_training_has_none_that_would_be_stale(layer, x, captured):
    with pytest.warns(UserWarning, match=r"all 600 x 600 weights are computed"):
        how = layer._how(x, layer._operands())
    assert isinstance(how, Direct)


@pytest.mark.parametrize("plan", [True, False])
def test_a_captured_call_reads_no_particles(layer, x, request, plan):
    particles = [p.detach() for p in layer._operands()]
    want = pn.particle_linear(x, *particles, method="direct")
    made = layer.planner.current
    request.getfixturevalue("captured")
    if plan:
        z = pn.particle_linear(x, *particles, method=made)
        assert not torch.equal(z, want)  # by the plan
    else:
        with pytest.warns(UserWarning, match=r"all 600 x 600 weights are computed"):
            z = pn.particle_linear(x, *particles)
        torch.testing.assert_close(z, want, rtol=0, atol=0)


def test_an_exported_layer_has_its_plan_in_it(layer, x):
    program = torch.export.export(layer, (x,))
    assert operators_in(program) == {"pn_gpu.mehler_linear.default"}
    torch.testing.assert_close(program.module()(x), layer(x), rtol=0, atol=0)


@pytest.mark.parametrize(("features", "left_out"), [(30, ((), ())), (400, ((3, 7), (11,)))])
def test_packed_approximations(features, left_out):
    approximation = support.approximation(3, features, *left_out)
    packed = pack(approximation)
    assert packed.shape == (SHORTEST if features == 30 else 2 * SHORTEST,)
    found = unpack(packed)
    assert unpack(packed.copy()) is found
    for name in ("centre", "rotation", "rates", "degrees"):
        assert (getattr(found.expansion, name) == getattr(approximation.expansion, name)).all()
    assert found.left_out_in.tolist() == list(left_out[0])
    assert found.left_out_out.tolist() == list(left_out[1])
