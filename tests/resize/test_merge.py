"""Particles that are merged: barycentres, masses that add up, and the cheapest pair first."""

from itertools import combinations

import numpy as np
import pytest

from pn_gpu.resize import merge as merging


def merge(positions, dipoles, bias, keep):
    """Of one shared node set."""
    (positions,), (dipoles,), bias = merging.merge([positions], [dipoles], bias, keep)
    return positions, dipoles, bias


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


@pytest.fixture
def unshared():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((7, size)) for size in (2, 2, 3, 3)]
    return arrays[:2], arrays[2:], rng.standard_normal(7)


def test_nothing_of_two_sets_merged_is_nothing_changed(unshared):
    positions, dipoles, bias = merging.merge(*unshared, 7)
    for new, old in zip([*positions, *dipoles, bias], [*unshared[0], *unshared[1], unshared[2]], strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12)


def test_the_first_pair_of_two_sets(unshared):
    (r, q), (v, u), bias = unshared
    out, into = (np.linalg.norm(a, axis=1) for a in (v, u))
    mass, points = out * into, np.concatenate([r, q, v / out[:, None], u / into[:, None]], axis=1)

    def cost(pair):
        a, b = pair
        return mass[a] * mass[b] / (mass[a] + mass[b]) * ((points[a] - points[b]) ** 2).sum()

    a, b = min(combinations(range(7), 2), key=cost)
    (new_r, new_q), (new_v, new_u), biases = merging.merge(*unshared, 6)
    total = mass[a] + mass[b]
    for new, old in ((new_r, r), (new_q, q)):
        np.testing.assert_allclose(new[a], (mass[a] * old[a] + mass[b] * old[b]) / total, rtol=1e-12)
    lengths = np.linalg.norm(new_v[a]), np.linalg.norm(new_u[a])
    np.testing.assert_allclose(lengths[0] * lengths[1], total, rtol=1e-12)
    for new, old in ((new_v, v), (new_u, u)):
        direction = sum(mass[k] * old[k] / np.linalg.norm(old[k]) for k in (a, b))
        cosine = new[a] @ direction / np.linalg.norm(new[a]) / np.linalg.norm(direction)
        np.testing.assert_allclose(cosine, 1, rtol=1e-12)
    mean = (mass[a] * bias[a] / out[a] + mass[b] * bias[b] / out[b]) / total
    np.testing.assert_allclose(biases[a], lengths[0] * mean, rtol=1e-12)


def test_what_contributes_nothing_vanishes(unshared):
    positions, (v, u), bias = unshared
    u = np.array(u)
    u[[1, 4]] = 0
    others = [0, 2, 3, 5, 6]
    new = merging.merge(positions, (v, u), bias, 5)
    for got, old in zip([*new[0], *new[1], new[2]], [*positions, v, u, bias], strict=True):
        np.testing.assert_allclose(got, old[others], rtol=1e-12)
