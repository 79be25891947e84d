"""Sensors that are dropped, moved and resampled: what they read is true, and a run goes on where it was."""

import csv

import numpy as np
import pytest

from bench import sensors, sensors_fields, sensors_networks
from bench.equal_parameters_data import Split
from bench.sensors_fields import changes, home, places_of, readings
from bench.sensors_networks import Setting
from support.benches import parsed

COUNT = 12


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setitem(sensors_fields.SHAPES, "mnist1d", (COUNT,))
    monkeypatch.setitem(sensors_fields.GRIDS, "mnist1d", (6, 24))
    monkeypatch.setitem(sensors.EPOCHS, "mnist1d", 12)
    monkeypatch.setattr(sensors_networks, "HIDDEN", 16)
    settings = {"particles": [Setting(0.05, 0, 2.0)], "dense": [Setting(0.02, 0, 0)]}
    monkeypatch.setattr(sensors_networks, "SETTINGS", settings)


def waves(num=400):
    """Smooth signals of three classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=num)
    t = home("mnist1d")[:, 0] / COUNT
    x = np.cos(2 * np.pi * t * (0.5 + y[:, None] / 2)) + 0.1 * rng.standard_normal((num, COUNT))
    x = x.astype(np.float32)
    return Split(x[: num // 2], y[: num // 2], x[num // 2 :], y[num // 2 :])


def test_sensors_read_the_field_where_they_are():
    split = waves()
    np.testing.assert_allclose(readings(split, "mnist1d", home("mnist1d")), split.x_test, rtol=1e-6)
    between = readings(split, "mnist1d", home("mnist1d")[:-1] + 0.25)
    np.testing.assert_allclose(between, 0.75 * split.x_test[:, :-1] + 0.25 * split.x_test[:, 1:], atol=1e-6)
    outside = readings(split, "mnist1d", np.array([[-99.0], [99.0]]))
    np.testing.assert_allclose(outside, split.x_test[:, [0, -1]], rtol=1e-6)
    ramp = np.add.outer(10.0 * np.arange(28), np.arange(28)).reshape(1, 784)
    images = Split(ramp, np.zeros(1), ramp, np.zeros(1))
    places = places_of((20, 20), "mnist")
    np.testing.assert_allclose(readings(images, "mnist", places)[0], (places + 13.5) @ [10, 1], rtol=1e-6)


def test_changes_follow_from_the_seed():
    one, same, other = (list(changes("mnist1d", seed)) for seed in (0, 0, 1))
    assert [change[:2] for change in one] == [change[:2] for change in other]
    assert all((a.places == b.places).all() for a, b in zip(one, same, strict=True))
    assert any((a.places != b.places).any() for a, b in zip(one, other, strict=True) if len(a.places) == len(b.places))
    sizes = {change.amount: len(change.places) for change in one}
    assert (sizes["25%"], sizes["75%"], sizes["6"], sizes["24"]) == (9, 3, 6, 24)
    dropped = next(change for change in one if change.kind == "dropped")
    np.testing.assert_array_equal(dropped.places, home("mnist1d")[dropped.old])


def options(folder, *arguments):
    return parsed(sensors, "--output", str(folder), *arguments)


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sensors, "load_split", lambda name, mnist: waves())
    sensors.run(options(tmp_path, "--sets", "mnist1d", "--seeds", "1"))
    results = tmp_path / "sensors.csv"
    first = results.read_text()
    monkeypatch.setattr(sensors, "search", None)  # what was found is not searched again
    sensors.run(options(tmp_path, "--sets", "mnist1d", "--seeds", "1"))
    assert results.read_text() == first
    sensors.run(options(tmp_path, "--sets", "mnist1d", "--seeds", "2"))
    rows = list(csv.DictReader(results.read_text().splitlines()))
    assert results.read_text().startswith(first.splitlines()[0])
    assert {row["seed"] for row in rows} == {"0", "1"}
    accuracy = {(r["network"], r["seed"], r["amount"], r["rule"]): float(r["test_accuracy"]) for r in rows}
    assert accuracy["particles", "0", "", ""] > 0.8
    assert accuracy["dense", "0", "", ""] > 0.8
    assert accuracy["particles", "0", "24", "with_inputs, kriging"] > accuracy["particles", "0", "", ""] - 0.1
    assert ("dense", "0", "24", "0 for what is missing; moves ignored") not in accuracy
    assert accuracy["dense", "0", "75%", "0 for what is missing; moves ignored"] < accuracy["dense", "0", "", ""]
    table = (tmp_path / "sensors.md").read_text()
    assert "particles: with_inputs, kriging" in table
    assert (tmp_path / "sensors.png").stat().st_size > 0


def test_bad_options_name_themselves(tmp_path):
    with pytest.raises(ValueError, match="--sets: got 'cifar'"):
        sensors.run(options(tmp_path, "--sets", "cifar"))
    with pytest.raises(ValueError, match="--seeds: got 0"):
        sensors.run(options(tmp_path, "--seeds", "0"))
    with pytest.raises(FileNotFoundError, match="--output"):
        sensors.run(options(tmp_path / "none"))
