"""Batched node sets: one call beside a loop over the sets."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.kernels.room import Particles


def layers(sets: tuple[int, ...], batch: int, n_in: int, n_out: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    shapes = [(batch, n_in), (n_in, 3), (n_in, 2), (n_out, 3), (n_out, 2), (n_out,), (batch, n_out)]
    x, *particles, bias, dz = (rng.standard_normal((*sets, *shape)) for shape in shapes)
    return x, Particles(*particles), bias, dz


def assert_close(got, want):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.linalg.norm(got - want) <= 1e-12 * np.linalg.norm(want)


# 512 x 512 takes the threads, one set each.
@pytest.mark.parametrize(("sets", "width"), [((3,), 13), ((2, 2), 13), ((8,), 512)])
def test_sets_are_layers_of_their_own(sets, width):
    x, particles, bias, dz = layers(sets, 16, width, width + 3)
    z, pull_back = pn.particle_linear_vjp(x, *particles, bias)
    backward = pn.particle_linear_backward(dz, x, *particles)
    w = pn.dense_weight(*particles)
    np.testing.assert_array_equal(z, pn.particle_linear(x, *particles, bias))
    for s in np.ndindex(*sets):
        one = [p[s] for p in particles]
        assert_close(z[s], pn.particle_linear(x[s], *one, bias[s]))
        assert_close(w[s], pn.dense_weight(*one))
        want = pn.particle_linear_backward(dz[s], x[s], *one)
        for got in (backward, pull_back(dz)):
            for g, g_one in zip(got, want, strict=True):
                assert_close(g[s], g_one)


def test_mehler_plans_every_set():
    x, particles, _, _ = layers((2,), 4, 2000, 1500)
    particles = Particles(*(0.3 * p for p in particles))
    z = pn.particle_linear(x, *particles, method="mehler", rtol=1e-4)
    exact = pn.particle_linear(x, *particles, method="direct")
    error = np.linalg.norm(z - exact) / np.linalg.norm(exact)
    assert 0 < error < 1e-3


@pytest.mark.parametrize(("sets", "batch"), [((0,), 4), ((2,), 0), ((0, 3), 0)])
@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch"])
def test_empty(sets, batch, library):
    xp = pytest.importorskip(library)
    x, particles, bias, dz = layers(sets, batch, 5, 7)
    x, bias, dz, *nodes = (xp.asarray(a) for a in (x, bias, dz, *particles))
    assert tuple(pn.particle_linear(x, *nodes, bias).shape) == (*sets, batch, 7)
    gradient = pn.particle_linear_backward(dz, x, *nodes)
    for g, like in zip(gradient, (x, *nodes, bias), strict=True):
        assert tuple(g.shape) == tuple(like.shape)
    assert tuple(pn.dense_weight(*nodes).shape) == (*sets, 5, 7)


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_libraries(library):
    xp = pytest.importorskip(library)
    x, particles, bias, dz = layers((2, 2), 4, 6, 5)
    z = pn.particle_linear(xp.asarray(x), *map(xp.asarray, particles), xp.asarray(bias))
    assert_close(z, pn.particle_linear(x, *particles, bias))
    got = pn.particle_linear_backward(xp.asarray(dz), xp.asarray(x), *map(xp.asarray, particles))
    for g, want in zip(got, pn.particle_linear_backward(dz, x, *particles), strict=True):
        assert_close(g, want)


@pytest.mark.parametrize("name", ["x", "v_in", "r_out", "v_out", "bias"])
def test_sets_that_disagree(name):
    x, particles, bias, _ = layers((3,), 4, 6, 5)
    given = {"x": x, **particles._asdict(), "bias": bias}
    given[name] = given[name][0]
    with pytest.raises(ValueError, match=f"^{name}: got shape"):
        pn.particle_linear(**given)


def test_a_plan_is_of_one_set():
    x, particles, _, _ = layers((2,), 4, 6, 5)
    plan = pn.plan(*(p[0] for p in particles), batch=4)
    with pytest.raises(ValueError, match=r"^method: got a Plan"):
        pn.particle_linear(x, *particles, method=plan)
    with pytest.raises(ValueError, match=r"^r_in: got shape"):
        pn.plan(*particles, batch=4)
