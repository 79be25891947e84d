"""Derivatives beyond the gradient: gradients of gradients, forward mode and what is made of them."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jvp
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pn_gpu as pn
from pn_gpu.kernels import potentials
from pn_gpu.kernels.torch import chunks, composition, second_order
from support.derivatives import ALL, HOW, SMOOTH, assert_close, by, directions, leaves, loss, plain, stored

# jacfwd's own, and inductor's.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks and blocks, the last of them shorter."""
    monkeypatch.setattr(second_order, "CHUNK_PAIRS", 3 * 7)
    monkeypatch.setattr(second_order, "THREAD_PAIRS", 3 * 7)
    monkeypatch.setattr(second_order, "THREAD_ROWS", 1)
    monkeypatch.setattr(chunks, "SERIAL_WORK", 0)
    monkeypatch.setattr(composition, "BLOCK_FEATURES", 3 * 12)


@pytest.mark.parametrize("potential", potentials.names())
def test_gradgradcheck(potential, small_chunks):
    """Double backward and forward mode over reverse, against differences of the gradient."""

    def linear(*arguments):
        return pn.particle_linear(*arguments, potential=potential)

    assert gradgradcheck(linear, leaves(), check_fwd_over_rev=True)


def test_torch_keeps_its_threads(small_chunks):
    threads = torch.get_num_threads()
    for how in HOW.values():
        arguments = leaves()
        gradient = torch.autograd.grad(by(how)(*arguments).sin().sum(), arguments, create_graph=True)
        torch.autograd.grad(gradient, arguments, directions())
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("potential", SMOOTH)
def test_gradgradcheck_of_a_layer_onto_itself(potential, small_chunks):
    """A node's distance to itself is 0, and what rounding makes of it is not cut off with its derivative."""
    x, r, v, *_ = leaves()
    assert gradgradcheck(lambda x, r, v: pn.particle_linear(x, r, v, r, v, potential=potential), (x, r, v))


@pytest.mark.parametrize("how", HOW)
def test_forward_mode_against_differences(how, small_chunks):
    assert gradcheck(by(HOW[how]), leaves(), check_forward_ad=True, fast_mode=True)


@pytest.mark.parametrize("how", list(HOW)[1:])
def test_gradgradcheck_of_mehler(how, small_chunks):
    """Consistent with the approximated forward, not with the exact one."""
    assert gradgradcheck(by(HOW[how]), leaves(), check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("how", list(HOW)[1:])
def test_mehler_composition_is_what_the_room_computes(how, small_chunks):
    x, *particles, bias = plain()
    got = composition.particle_linear(HOW[how].approximation, x, *particles) + bias
    assert_close(got, by(HOW[how])(x, *particles, bias))


@pytest.mark.parametrize("wanted", [[0], [1], [5], [0, 5], [2, 3]])
def test_gradients_of_some_gradients(wanted):
    results = []
    for linear in (pn.particle_linear, stored):
        arguments = [t.requires_grad_(k in wanted) for k, t in enumerate(plain())]
        of = [arguments[k] for k in wanted]
        first = torch.autograd.grad(loss(linear)(*arguments), of, create_graph=True)
        results.append(torch.autograd.grad(sum(g.cos().sum() for g in first), of, retain_graph=True))
    assert_close(*results)


def test_fourth_order():
    results = []
    for linear in (pn.particle_linear, stored):
        arguments, found = leaves(), []
        value = loss(linear)(*arguments)
        for _ in range(4):
            found += (gradient := torch.autograd.grad(value, arguments, create_graph=True))
            value = sum(g.sin().sum() for g in gradient)
        results.append(found)
    assert_close(*results)


def test_third_order_of_mehler():
    linear = by(HOW["mehler with left-out particles"])
    point, u, step = plain(), directions(), 1e-5

    def second(*arguments):
        return jvp(grad(loss(linear), ALL), arguments, u)[1]

    got = jvp(second, point, u)[1]
    above, below = (second(*(p + sign * step * d for p, d in zip(point, u, strict=True))) for sign in (1, -1))
    for g, a, b in zip(got, above, below, strict=True):
        torch.testing.assert_close(g, (a - b) / (2 * step), rtol=1e-7, atol=1e-8)


def test_meta_tensors():
    arguments = [t.detach().to("meta").requires_grad_() for t in leaves()]
    first = torch.autograd.grad(loss(pn.particle_linear)(*arguments), arguments, create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in first), arguments[:5])
    assert [g.shape for g in second] == [t.shape for t in arguments[:5]]


@pytest.mark.parametrize("sizes", [(0, 8, 7), (3, 1, 1), (3, 997, 2)])
def test_shapes(sizes):
    results = []
    for linear in (pn.particle_linear, stored):
        arguments = leaves(*sizes)
        first = torch.autograd.grad(loss(linear)(*arguments), arguments, create_graph=True)
        results.append(torch.autograd.grad(sum(g.sin().sum() for g in first), arguments))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-10)  # sums of 997 terms that nearly cancel


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_computed_in_float32(dtype):
    """Only the results are rounded: once by z, which the loss sees, and once by each gradient."""
    epsilon = torch.finfo(dtype).eps
    x, *layer = directions(dtype=torch.float32)
    x, u = x.to(dtype), plain()[0].to(dtype)
    _, tangent = jvp(lambda x: pn.particle_linear(x, *layer), (x,), (u,))
    want = stored(u.double(), *(t.double() for t in layer)) - layer[-1]
    assert tangent.dtype == dtype
    scale = u.double().abs() @ pn.dense_weight(*(t.double() for t in layer[:4])).abs()
    assert float(((tangent - want).abs() / scale).max()) < epsilon


class Storages(TorchDispatchMode):
    """Watches the memory of whatever any operation makes."""

    def __init__(self):
        super().__init__()
        self.largest, self._made = 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.largest = max(self.largest, storage.nbytes())
                self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return results

    def kept(self) -> int:
        """Bytes that are still in use."""
        return sum(size for reference, size in self._made.values() if not reference.expired())


@pytest.mark.parametrize("how", list(HOW)[:2])
def test_weights_are_never_stored(how):
    """Up to the third order, for 9 million weights: neither at once nor bit by bit in the graph between them."""
    nodes, batch = 3000, 4
    stored_bytes = 4 * nodes**2
    arguments = leaves(batch, nodes, nodes, dtype=torch.float32)
    with Storages() as storages:
        value = loss(by(HOW[how]))(*arguments)
        for order in range(3):
            first = torch.autograd.grad(value, arguments[:3], create_graph=order < 2)
            assert storages.kept() < stored_bytes / 2
            value = sum(g.sin().sum() for g in first)
    assert storages.largest < stored_bytes / 8
    assert all(bool(g.isfinite().all()) for g in first)


@pytest.fixture
def registered():
    """A potential of one's own, taken out of the register again."""
    names = []

    def register(**functions):
        names.append(f"own {len(names)}")
        return pn.register_potential(pn.Potential(names[-1], **functions))

    yield register
    for name in names:
        del sys.modules["pn_gpu.kernels.potentials._potential"]._registered[name]


def test_a_potential_of_ones_own(registered):
    value = {"value": lambda s: 1 / (1 + 2 * s), "derivative": lambda s: -2 / (1 + 2 * s) ** 2}
    whole = registered(**value, second_derivative=lambda s: 8 / (1 + 2 * s) ** 3)
    assert gradgradcheck(lambda *t: pn.particle_linear(*t, potential=whole), leaves(), fast_mode=True)
    partial = registered(**value)
    assert gradcheck(lambda *t: pn.particle_linear(*t, potential=partial), leaves(), check_forward_ad=True)
    arguments = leaves()
    first = torch.autograd.grad(
        pn.particle_linear(*arguments, potential=partial).sum(), arguments[1], create_graph=True
    )
    with pytest.raises(ValueError, match="'own 1' has no second derivative"):
        first[0].sum().backward()


@pytest.mark.parametrize("potential", potentials.names())
def test_second_derivative_of_a_potential(potential):
    """The derivative of the first one away from 0, where it is finite by agreement."""
    of = potentials.get(potential)
    s = np.concatenate([np.geomspace(1e-4, 0.9, 40), np.linspace(1.1, 9, 20)])
    step = 1e-5 * s
    differences = (of.derivative(s + step) - of.derivative(s - step)) / (2 * step)
    scale = np.abs(of.derivative(s)) / s + np.abs(differences)
    assert float(np.max(np.abs(of.second_derivative(s) - differences) / np.maximum(scale, 1e-300))) < 1e-8
    assert math.isfinite(float(of.second_derivative(np.zeros(1))[0]))
