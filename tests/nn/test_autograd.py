"""Derivatives, autocast, vmap and tracing of the torch operators."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.func import functional_call, grad, vmap

import pn_gpu as pn
from pn_gpu.kernels import numpy as numpy_room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.foreign import ForeignRoom
from pn_gpu.kernels.torch import compute, library
from pn_gpu.nn import ParticleLinear

SETTINGS = ("gaussian", None)
FORWARD, BACKWARD, HESSIAN = (each["particle_linear"] for each in (library.FORWARD, library.BACKWARD, library.HESSIAN))


def leaves(b=5, n_in=7, n_out=4, dim=3, dipole_dim=2, dtype=torch.float64, seed=0):
    """x, r_in, v_in, r_out, v_out and bias, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(b, n_in), (n_in, dim), (n_in, dipole_dim), (n_out, dim), (n_out, dipole_dim), (n_out,)]
    return [(0.5 * torch.randn(shape, generator=generator, dtype=dtype)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("potential", potentials.names())
def test_gradcheck(potential):
    assert torch.autograd.gradcheck(lambda *t: pn.particle_linear(*t, potential=potential), leaves())


def test_gradcheck_of_a_layer_onto_itself():
    """Shared particles get both gradients; a node's distance to itself is 0."""
    x, r, v, *_ = leaves()
    assert torch.autograd.gradcheck(lambda x, r, v: pn.particle_linear(x, r, v, r, v), (x, r, v))


@pytest.mark.parametrize("bias", [True, False])
def test_opcheck(bias):
    x, *particles, b = leaves()
    b = b if bias else None
    torch.library.opcheck(FORWARD, (x, *particles, b, *SETTINGS))
    torch.library.opcheck(FORWARD, (x.detach().expand(2, 5, 7), *particles, b, *SETTINGS))


@pytest.mark.parametrize("needs", [(True, True, True), (False, True, False), (True, False, False)])
def test_opcheck_backward(needs):
    x, *particles, _ = (t.detach() for t in leaves())
    dz = torch.randn(5, 4, dtype=torch.float64)
    torch.library.opcheck(BACKWARD, (dz, x, *particles, *SETTINGS, *needs))


@pytest.mark.parametrize(
    ("directions", "needs"),
    [("all", (True, True)), ("dz", (False, True)), ("x", (True, False)), ("particles", (True, True))],
)
def test_opcheck_hessian(directions, needs):
    x, *particles, _ = (t.detach() for t in leaves())
    dz = torch.randn(5, 4, dtype=torch.float64)
    parts = {"dz": dz, "x": x, "particles": particles}
    given = [p if directions in ("all", name) else None for name, p in parts.items()]
    u_dz, u_x, u_particles = given
    directed = (u_dz, u_x, *(u_particles or (None,) * 4))
    torch.library.opcheck(HESSIAN, (dz, x, *particles, *directed, *SETTINGS, *needs))


def test_opcheck_of_mixed_dtypes():
    x, *layer = leaves(dtype=torch.float32)
    half = x.detach().bfloat16()
    torch.library.opcheck(FORWARD, (half, *layer, *SETTINGS), test_utils=("test_schema", "test_faketensor"))
    dz = torch.ones(5, 4, dtype=torch.bfloat16)
    particles = [p.detach() for p in layer[:4]]
    arguments = (dz, half, *particles, *SETTINGS, True, True, True)
    torch.library.opcheck(BACKWARD, arguments, test_utils=("test_schema", "test_faketensor"))


def test_vmap_over_inputs():
    x, *layer = leaves()
    want = pn.particle_linear(x, *layer)
    torch.testing.assert_close(vmap(lambda row: pn.particle_linear(row, *layer))(x), want)
    by_columns = vmap(lambda row: pn.particle_linear(row, *layer), in_dims=1, out_dims=1)(x.T)
    torch.testing.assert_close(by_columns, want.T)


def test_vmap_over_layers():
    x, r_in, *rest = leaves()
    stack = torch.stack([r_in, r_in + 1, 2 * r_in])
    got = vmap(lambda r: pn.particle_linear(x, r, *rest))(stack)
    for k in range(3):
        torch.testing.assert_close(got[k], pn.particle_linear(x, stack[k], *rest))


def test_per_sample_gradients():
    layer = ParticleLinear(7, 4, dtype=torch.float64)
    x = torch.randn(5, 7, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(parameters, row):
        return functional_call(layer, parameters, (row,)).square().sum()

    per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for k, row in enumerate(x):
        layer.zero_grad()
        layer(row).square().sum().backward()
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(per_sample[name][k], parameter.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    layer = ParticleLinear(7, 4)
    x = torch.randn(5, 7, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        z = layer(x)
        public = pn.particle_linear(x, *layer._operands(), layer.bias)
    assert z.dtype == public.dtype == dtype
    torch.testing.assert_close(z, layer(x.to(dtype)), rtol=0, atol=0)
    z.float().sum().backward()
    assert x.grad.dtype == torch.float32
    assert {p.dtype for p in layer.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}
    with torch.autocast("cpu", dtype=dtype), torch.autocast("cpu", enabled=False):
        assert layer(x).dtype == torch.float32
    with torch.autocast("cpu", dtype=dtype):
        assert layer.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("inference", [torch.no_grad, torch.inference_mode])
def test_no_gradient_recorded(inference):
    arguments = leaves()
    with inference():
        z = pn.particle_linear(*arguments)
    assert not z.requires_grad
    torch.testing.assert_close(z, pn.particle_linear(*arguments).detach(), rtol=0, atol=0)


def test_meta_tensors():
    arguments = [t.detach().to("meta").requires_grad_() for t in leaves()]
    z = pn.particle_linear(*arguments)
    assert z.shape == (5, 4)
    z.sum().backward()
    assert [t.grad.shape for t in arguments] == [t.shape for t in arguments]


@pytest.mark.parametrize("wanted", [range(6), [0], [2], [5], [0, 3, 5]])
def test_residuals_are_kept_where_they_serve_and_no_longer(wanted, monkeypatch):
    full = leaves()
    pn.particle_linear(*full).square().sum().backward()
    arguments = [t.detach().requires_grad_(k in wanted) for k, t in enumerate(full)]
    kept = []

    def spy(*call, keep=False):
        z, residuals = room.forward(*call[:4], keep=True)
        kept.append(call[4] if len(call) > 4 else keep)
        return z, residuals if kept[-1] else None

    room = ForeignRoom(numpy_room, compute.view, compute._back)
    monkeypatch.setattr(compute, "room_of", lambda device, how: SimpleNamespace(forward=spy, backward=room.backward))
    z = pn.particle_linear(*arguments)
    with torch.no_grad():
        pn.particle_linear(*arguments)
    with torch.autograd.graph.save_on_cpu():
        pn.particle_linear(*arguments)
    assert kept == [True, False, False]
    loss = z.square().sum()
    loss.backward(retain_graph=True)
    for k, (a, b) in enumerate(zip(arguments, full, strict=True)):
        if k in wanted:
            torch.testing.assert_close(a.grad, b.grad)
        else:
            assert a.grad is None
    loss.backward()  # once more, with nothing kept
    torch.testing.assert_close(arguments[wanted[0]].grad, 2 * full[wanted[0]].grad)


def test_residuals_go_with_the_backward():
    x, *layer = leaves()
    z = pn.particle_linear(x, *layer)
    node = z.grad_fn
    assert node.kept.residuals is not None
    z.sum().backward(retain_graph=True)
    assert node.kept.residuals is None
