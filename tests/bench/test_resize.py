"""Networks made smaller and larger: the rules keep what they say, and a run goes on."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from bench import resize
from support.benches import parsed


def easy_data():
    """Three clouds of twelve features."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((3, 12))
    y = rng.integers(3, size=300)
    x = (centres[y] + rng.standard_normal((300, 12))).astype(np.float32)
    parts = {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}
    return SimpleNamespace(num_features=12, num_outputs=3, **parts)


@pytest.mark.parametrize("kind", ["particles", "particles, shared", "dense"])
def test_removing_nobody_changes_nothing(kind):
    data = easy_data()
    network = resize.make_network(kind, [12, 9, 3], seed=1)
    for rule in resize.RULES:
        same = resize.shrink(network, rule, 9, data.x_train, seed=0)
        np.testing.assert_allclose(same.predict_proba(data.x_test), network.predict_proba(data.x_test), rtol=1e-4)
        smaller = resize.shrink(network, rule, 4, data.x_train, seed=0)
        assert list(smaller.sizes) == [12, 4, 3]
        assert smaller.num_parameters < network.num_parameters


@pytest.mark.parametrize("rule", resize.RULES)
def test_what_is_removed_goes_into_the_bias(rule):
    data = easy_data()
    network = resize.make_network("dense", [12, 9, 3], seed=1)
    smaller = resize.shrink(network, rule, 5, data.x_train, seed=0)

    def logits(net):
        z = data.x_train @ net.parameters["layers.0.weight"] + net.parameters["layers.0.bias"]
        return np.where(z > 0, z, 0.01 * z) @ net.parameters["layers.1.weight"] + net.parameters["layers.1.bias"]

    np.testing.assert_allclose(logits(smaller).mean(axis=0), logits(network).mean(axis=0), rtol=1e-4)


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(resize, "load", lambda source: easy_data())
    monkeypatch.setattr(resize, "HIDDEN", 16)
    monkeypatch.setattr(resize, "NARROW", 4)
    for seeds in ("1", "2"):
        resize.run(parsed(resize, "--output", str(tmp_path), "--seeds", seeds, "--epochs", "2"))
    with (tmp_path / "resize.csv").open() as file:
        lines = list(csv.DictReader(file))
    per_seed = 3 * (1 + 3 * 3) + 5
    assert [line["seed"] for line in lines] == ["0"] * per_seed + ["1"] * per_seed
    grown = next(line for line in lines if line["change"] == "grown")
    assert float(grown["difference"]) < 1e-2
    assert "| grown | grown | 16 |" in (tmp_path / "resize.md").read_text()


def test_bad_options_are_named(tmp_path):
    with pytest.raises(ValueError, match="--seeds: got 0"):
        resize.run(parsed(resize, "--output", str(tmp_path), "--seeds", "0"))
    with pytest.raises(FileNotFoundError, match="--output"):
        resize.run(parsed(resize, "--output", str(tmp_path / "none")))
