"""Transforms of torch.func over the operator, nested, batched and compiled."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

import pn_gpu as pn
from pn_gpu.kernels.mehler.packing import pack
from pn_gpu.kernels.torch import library
from pn_gpu.nn import ParticleLinear
from support.derivatives import ALL, HOW, assert_close, by, directions, leaves, loss, plain, stored

# jacfwd's own, and inductor's.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")


@pytest.mark.parametrize("outer", [jacfwd, jacrev])
@pytest.mark.parametrize("inner", [jacfwd, jacrev])
def test_nested_transforms(outer, inner):
    """Forward mode within forward mode too, where torch would lose the outer tangent."""
    got, want = (outer(inner(loss(linear), (0, 1)), (1, 2))(*plain()) for linear in (pn.particle_linear, stored))
    assert_close(got, want)


NESTED = {
    "one": lambda f, p, u: jvp(f, p, u)[1],
    "two": lambda f, p, u: jvp(lambda *a: jvp(f, a, u)[1], p, u)[1],
    "by different arguments": lambda f, p, u: jvp(
        lambda r: jvp(lambda x: f(x, r, *p[2:]), p[:1], u[:1])[1], p[1:2], u[1:2]
    )[1],
    "by the tangent": lambda f, p, u: jvp(lambda t: jvp(lambda x: f(x, *p[1:]), p[:1], (t,))[1], u[:1], p[:1])[1],
    "two over reverse": lambda f, p, u: jvp(lambda *a: jvp(grad(f, ALL), a, u)[1], p, u)[1],
    "around reverse": lambda f, p, u: jvp(grad(lambda *a: jvp(f, a, u)[1], ALL), p, u)[1],
}


@pytest.mark.parametrize("nested", NESTED)
def test_nested_forward_modes(nested):
    """A level computes on plain values only where no other one has a tangent in them."""
    point, u = plain(), directions()
    assert_close(*(NESTED[nested](loss(linear), point, u) for linear in (pn.particle_linear, stored)))


def test_dual_tensors():
    for missing in (None, 1, 5):
        tangents = []
        for linear in (pn.particle_linear, stored):
            with forward_ad.dual_level():
                pairs = zip(plain(), directions(), strict=True)
                duals = [p if k == missing else forward_ad.make_dual(p, u) for k, (p, u) in enumerate(pairs)]
                tangents.append(forward_ad.unpack_dual(linear(*duals)).tangent)
        assert_close(*tangents)


def test_hessian_vector_product_of_a_module():
    layer = ParticleLinear(8, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, (parameters, u) = plain()[0], ({n: p.detach() for n, p in layer.named_parameters()} for _ in range(2))

    def of_module(parameters):
        return functional_call(layer, parameters, (x,)).sin().sum()

    def of_weights(p):
        names = "in_particles.positions", "in_particles.dipoles", "out_particles.positions", "out_particles.dipoles"
        return loss(stored)(x, *(p[name] for name in names), p["bias"])

    got, want = (jvp(grad(of), (parameters,), (u,))[1] for of in (of_module, of_weights))
    assert_close(got, want)


def test_hessian_of_several_leading_dimensions():
    point = (plain()[0].reshape(3, 1, 8), *plain()[1:])
    assert_close(*(hessian(loss(linear), (0, 3))(*point) for linear in (pn.particle_linear, stored)))


def test_vmap_of_hessians():
    """Over inputs, and over node sets."""
    x, r_in, *rest = plain()
    stacked = torch.stack([r_in, directions()[1]])
    results = []
    for linear in (pn.particle_linear, stored):
        over_rows = vmap(lambda row: hessian(lambda r: loss(linear)(row, r, *rest))(r_in))(x)  # noqa: B023
        over_sets = vmap(lambda r: hessian(lambda v: loss(linear)(x, r, v, *rest[1:]))(rest[0]))(stacked)  # noqa: B023
        results.append((over_rows, over_sets))
    assert_close(*results)


def test_batched_gradients():
    """`is_grads_batched`, of the gradient and of its gradient."""
    results = []
    for linear in (pn.particle_linear, stored):
        arguments = leaves()
        z = linear(*arguments)
        rows = torch.eye(z.numel(), dtype=z.dtype).reshape(-1, *z.shape)
        first = torch.autograd.grad(z, arguments, rows, is_grads_batched=True, retain_graph=True)
        (of_r,) = torch.autograd.grad(z.sin().sum(), arguments[1], create_graph=True)
        rows = torch.eye(of_r.numel(), dtype=z.dtype).reshape(-1, *of_r.shape)
        second = torch.autograd.grad(of_r, arguments[:5], rows, is_grads_batched=True)
        results.append((first, second))
    assert_close(*results)


def forward_over_reverse(function):
    u = directions()
    return lambda *point: jvp(grad(function, ALL), point, u)


TRANSFORMS = {
    "grad": lambda f: grad(f, ALL),
    "grad of grad": lambda f: grad(lambda *t: grad(f, 1)(*t).sin().sum(), ALL),
    "forward over reverse": forward_over_reverse,
    "hessian": lambda f: hessian(f, 1),
    "gradients per sample": lambda f: vmap(grad(f, 1), (0, None, None, None, None, None)),
}


@pytest.fixture
def no_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_compiled_transforms(transform, no_graphs):
    """A transform inside one graph."""
    transform, function = TRANSFORMS[transform], loss(pn.particle_linear)
    compiled = torch.compile(transform(function), fullgraph=True, backend="aot_eager")
    assert_close(compiled(*plain()), transform(function)(*plain()))


@pytest.mark.parametrize("transform", list(TRANSFORMS)[1:4])
def test_compiled_transforms_of_the_mehler_operator(transform, no_graphs):
    how = HOW["mehler with left-out particles"]
    transform, packed = TRANSFORMS[transform], torch.from_numpy(pack(how.approximation))
    operator = loss(lambda *arguments: library.FORWARD["mehler_linear"](*arguments, packed))
    compiled = torch.compile(transform(operator), fullgraph=True, backend="aot_eager")
    assert_close(compiled(*plain()), transform(loss(by(how)))(*plain()))


def test_fourth_derivatives_are_not_compiled(no_graphs):
    """They are refused where they are taken, not where a graph of third ones might have a gradient."""
    x, r_in, *rest = plain()
    function = loss(pn.particle_linear)
    third = grad(lambda r: grad(lambda r: grad(lambda r: function(x, r, *rest))(r).square().sum())(r).square().sum())
    r_in.requires_grad_()
    got = torch.compile(third, fullgraph=True, backend="aot_eager")(r_in)
    assert_close(got, third(r_in))
    with pytest.raises(RuntimeError, match="fourth derivatives are not implemented"):
        got.sum().backward()
