"""Federated averaging: who has which examples, what travels, and a run that goes on."""

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench import federated  # noqa: E402
from bench.federated_training import NETWORKS, deal_out, train  # noqa: E402
from support.benches import easy_split, parsed  # noqa: E402


def some_split(num=400):
    return easy_split(num, 30, 10)


@pytest.mark.parametrize("deal", federated.DEALS)
def test_every_example_has_one_client(deal):
    y = np.random.default_rng(0).integers(10, size=1000)
    parts = deal_out(y, deal, 10, seed=0)
    assert sorted(np.concatenate(parts)) == list(range(1000))
    labels = max(len(np.unique(y[part])) for part in parts)
    assert labels == 10 if deal == "alike" else labels <= 4


@pytest.mark.parametrize("name", ["particles", "particles, positions stay", "dense"])
def test_averages_learn(name):
    outcome = train(NETWORKS[name], some_split(), "alike", 4, 0.02, 10, seed=0)
    assert outcome.accuracies[-1] > 0.8
    assert len(outcome.accuracies) == 10
    stay = name.endswith("stay")
    assert outcome.travelling < outcome.parameters if stay else outcome.travelling == outcome.parameters


def test_clients_that_learn_nothing_leave_the_network_as_it_was():
    split = some_split()
    whole = train(NETWORKS["dense"], split, "alike", 1, 0.0, 1, seed=0)
    assert train(NETWORKS["dense"], split, "alike", 5, 0.0, 3, seed=0).accuracies == whole.accuracies * 3


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(federated, "load_split", lambda name, source: some_split(2000))
    monkeypatch.setattr("bench.federated_training.NETWORKS", {"particles": NETWORKS["particles"]})
    for seeds in ("1", "2"):
        federated.run(parsed(federated, "--output", str(tmp_path), "--seeds", seeds, "--rounds", "2"))
    with (tmp_path / "federated.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["seed"] for line in lines] == ["0"] * 4 + ["1"] * 4
    assert float(lines[1]["megabytes"]) == pytest.approx(2 * float(lines[0]["megabytes"]), rel=1e-2)
    assert "| skewed | particles | 1 |" in (tmp_path / "federated.md").read_text()


def test_bad_options_are_named(tmp_path):
    with pytest.raises(ValueError, match="--rounds: got 0"):
        federated.run(parsed(federated, "--output", str(tmp_path), "--rounds", "0"))
