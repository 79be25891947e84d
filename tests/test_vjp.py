"""A forward and its way back in one: the same numbers as the two functions, in every library and by every method."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn
from support.clouds import make_case
from support.oracle import random_case

LIBRARIES = ["numpy", "torch", "array_api_strict"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("method", ["direct", "mehler"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_it_is_forward_and_backward(library: str, method: str, with_bias: bool) -> None:
    xp = pytest.importorskip(library)
    case = make_case("stray", 2, n_in=400, n_out=300)
    options = {"method": method, "rtol": 1e-2}
    x, dz, *particles = (xp.asarray(a) for a in (case.x, case.dz, *case.particles))
    bias = xp.asarray(case.bias) if with_bias else None
    z, pull_back = pn.particle_linear_vjp(x, *particles, bias, **options)
    want = pn.particle_linear(case.x, *case.particles, case.bias if with_bias else None, **options)
    np.testing.assert_allclose(np.asarray(z), want, rtol=1e-12, atol=1e-12)
    gradient = pull_back(dz)
    for got, wanted in zip(
        gradient, pn.particle_linear_backward(case.dz, case.x, *case.particles, **options), strict=True
    ):
        assert type(got) is type(x)
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["direct", "mehler"])
def test_leading_dimensions_and_what_is_needed(method: str) -> None:
    flat = random_case(6, 50, 40, 2)
    case = flat._replace(x=flat.x.reshape(2, 3, 50), dz=flat.dz.reshape(2, 3, 40))
    z, pull_back = pn.particle_linear_vjp(case.x, *case.particles, case.bias, method=method)
    assert z.shape == (2, 3, 40)
    both = pull_back(case.dz)
    assert both.dx.shape == (2, 3, 50)
    only_dx, only_particles = pull_back(case.dz, need_particles=False), pull_back(case.dz, need_dx=False)
    np.testing.assert_allclose(only_dx.dx, both.dx, rtol=1e-12, atol=1e-13)
    assert only_dx.dr_in is None
    assert only_particles.dx is None
    np.testing.assert_array_equal(only_particles.dr_out, both.dr_out)


def test_tensors_that_require_a_gradient_are_taken_as_they_are() -> None:
    torch = pytest.importorskip("torch")
    case = random_case(3, 20, 10, 2)
    leaves = [torch.tensor(a, requires_grad=True) for a in (case.x, *case.particles, case.bias)]
    z, pull_back = pn.particle_linear_vjp(*leaves)
    assert not z.requires_grad
    z = pn.particle_linear(*leaves)
    z.backward(torch.tensor(case.dz))
    for leaf, gradient in zip(leaves, pull_back(torch.tensor(case.dz)), strict=True):
        torch.testing.assert_close(leaf.grad, gradient)


def test_a_wrong_gradient_is_named() -> None:
    case = random_case(3, 20, 10, 2)
    _, pull_back = pn.particle_linear_vjp(case.x, *case.particles, case.bias)
    with pytest.raises(ValueError, match=r"dz: got shape \(3, 20\), want \(3, 10\)"):
        pull_back(case.x)
    with pytest.raises(TypeError, match="dz"):
        pull_back(case.dz.astype(np.float32))
    with pytest.raises(ValueError, match=r"bias: got shape \(20,\)"):
        pn.particle_linear_vjp(case.x, *case.particles, np.zeros(20))
