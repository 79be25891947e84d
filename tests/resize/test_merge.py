"""Particles that are merged: barycentres, masses that add up, and the cheapest pair first."""

from itertools import combinations

import numpy as np
import pytest

from pn_gpu.resize.merge import merge


@pytest.fixture
def particles():
    rng = np.random.default_rng(0)
    return rng.standard_normal((7, 2)), rng.standard_normal((7, 3)), rng.standard_normal(7)


def test_nothing_merged_is_nothing_changed(particles):
    for new, old in zip(merge(*particles, 7), particles, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12)


def test_the_first_pair_is_the_one_that_brute_force_finds(particles):
    r, v, bias = particles
    mass, u = (v**2).sum(1), v / np.linalg.norm(v, axis=1, keepdims=True)

    def cost(pair):
        a, b = pair
        return mass[a] * mass[b] / (mass[a] + mass[b]) * (((r[a] - r[b]) ** 2).sum() + ((u[a] - u[b]) ** 2).sum())

    a, b = min(combinations(range(7), 2), key=cost)
    positions, dipoles, biases = merge(*particles, 6)
    untouched = [k for k in range(7) if k not in (a, b)]
    at = [k for k in range(6) if k != a]
    np.testing.assert_allclose(positions[at], r[untouched], rtol=1e-12)
    total = mass[a] + mass[b]
    np.testing.assert_allclose(positions[a], (mass[a] * r[a] + mass[b] * r[b]) / total, rtol=1e-12)
    direction = mass[a] * u[a] + mass[b] * u[b]
    np.testing.assert_allclose(dipoles[a], np.sqrt(total) * direction / np.linalg.norm(direction), rtol=1e-12)
    mean = (mass[a] * bias[a] / np.sqrt(mass[a]) + mass[b] * bias[b] / np.sqrt(mass[b])) / total
    np.testing.assert_allclose(biases[a], np.sqrt(total) * mean, rtol=1e-12)


@pytest.mark.parametrize("keep", [1, 3, 5])
def test_masses_add_up(particles, keep):
    positions, dipoles, bias = merge(*particles, keep)
    assert positions.shape == (keep, 2)
    assert bias.shape == (keep,)
    np.testing.assert_allclose((dipoles**2).sum(), (particles[1] ** 2).sum(), rtol=1e-12)


def test_particles_without_dipoles_vanish(particles):
    r, v, bias = particles
    v = np.array(v)
    v[[2, 5]] = 0
    others = [0, 1, 3, 4, 6]
    for new, old in zip(merge(r, v, bias, 5), (r[others], v[others], bias[others]), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12)
    assert all(np.isfinite(part).all() for part in merge(r, np.zeros_like(v), bias, 2))
