"""Backward elimination beside what brute force and least squares find."""

from itertools import combinations

import numpy as np
import pytest

from pn_gpu.resize import elimination
from pn_gpu.resize.elimination import LEAST_SHARE, RIDGE, best_shares, eliminate, eliminate_unscaled


def gram_of(contributions):
    return contributions.T @ contributions / len(contributions)


@pytest.fixture
def contributions():
    """Of eight particles that are much alike, [200, 8]."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((200, 3)) @ rng.uniform(0.2, 1, (3, 8)) + 0.1 * rng.standard_normal((200, 8))


def loss_of(gram, kept, shares):
    change = -np.ones(len(gram))
    change[list(kept)] += shares
    regular = gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return change @ regular @ change


def least_squares(contributions, kept):
    """Shares by rows: the contributions' sum, and a row for each share that the ridge draws to 1."""
    kept = list(kept)
    ridge = np.sqrt(RIDGE * np.trace(gram_of(contributions)) / contributions.shape[1] * len(contributions))
    rows = np.vstack([contributions[:, kept], ridge * np.eye(len(kept))])
    return np.linalg.lstsq(rows, np.concatenate([contributions.sum(1), np.full(len(kept), ridge)]), rcond=None)[0]


@pytest.mark.parametrize("keep", [1, 3, 6, 8])
def test_shares_are_those_of_least_squares(contributions, keep):
    kept, shares = eliminate(gram_of(contributions), keep)
    assert kept.tolist() == sorted(set(kept))
    assert len(kept) == keep
    np.testing.assert_allclose(shares, least_squares(contributions, kept), rtol=1e-9)


def test_the_first_to_go_is_the_one_that_brute_force_finds(contributions):
    gram = gram_of(contributions)
    losses = {kept: loss_of(gram, kept, least_squares(contributions, kept)) for kept in combinations(range(8), 7)}
    assert tuple(eliminate(gram, 7)[0]) == min(losses, key=losses.get)
    unscaled = {kept: loss_of(gram, kept, np.ones(7)) for kept in losses}
    assert tuple(eliminate_unscaled(gram, 7)) == min(unscaled, key=unscaled.get)


def test_others_make_up_for_what_is_removed(contributions):
    gram = gram_of(contributions)
    kept, shares = eliminate(gram, 3)
    alone = eliminate_unscaled(gram, 3)
    change = -np.ones(8)
    change[kept] += shares
    lost = change @ gram @ change / gram.sum()
    change = -np.ones(8)
    change[alone] += 1
    assert lost < 0.05 < 0.2 < change @ gram @ change / gram.sum()


def test_opposites_go_together_without_shares():
    """Two contributions that cancel are missed less than a single small one."""
    rng = np.random.default_rng(1)
    one, small = rng.standard_normal(50), 0.1 * rng.standard_normal(50)
    gram = gram_of(np.stack([one, small, -one, rng.standard_normal(50)], 1))
    assert eliminate_unscaled(gram, 3).tolist() == [0, 2, 3]
    assert eliminate_unscaled(gram, 1).tolist() == [3]


def test_no_particle_falls_silent():
    """The first would have to be negative to make up for the second; the others are the best beside it."""
    rng = np.random.default_rng(2)
    one, other = rng.standard_normal((2, 50))
    contributions = np.stack([one, -3 * one, other, other + 0.5 * one], 1)
    regular = elimination.regularised(gram_of(contributions))
    shares = best_shares(regular, np.array([0, 2]))
    assert shares[0] == LEAST_SHARE
    others = [loss_of(gram_of(contributions), [0, 2], np.array([LEAST_SHARE, shares[1] + d])) for d in (-0.01, 0, 0.01)]
    assert np.argmin(others) == 1


def test_silent_ones_go_first_and_nothing_is_as_good_as_nothing():
    gram = gram_of(np.random.default_rng(3).standard_normal((50, 6)))
    gram[[1, 4]] = gram[:, [1, 4]] = 0
    kept, shares = eliminate(gram, 4)
    assert kept.tolist() == [0, 2, 3, 5]
    np.testing.assert_allclose(shares, 1, rtol=1e-12)
    kept, shares = eliminate(np.zeros((4, 4)), 2)
    assert len(kept) == 2
    np.testing.assert_allclose(shares, 1, rtol=1e-12)


def test_several_at_a_time_lose_little_more(contributions, monkeypatch):
    rng = np.random.default_rng(4)
    many = np.concatenate([contributions @ rng.uniform(0, 1, (8, 5)) for _ in range(8)], axis=1)
    gram = gram_of(many)
    one_by_one = loss_of(gram, *eliminate(gram, 10))
    monkeypatch.setattr(elimination, "UPDATES", 10)
    kept, shares = eliminate(gram, 10)
    assert len(kept) == 10
    assert one_by_one < loss_of(gram, kept, shares) * (1 + 1e-9) < 3 * one_by_one
