"""Small tables beside scikit-learn: everybody sees the same rows, and the report adds up."""

import csv

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pandas")

from bench import tables
from bench.tables_data import TABLES, write_table
from bench.tables_providers import COMMAND, ESTIMATOR, PROVIDERS, RIVAL, Score
from bench.tables_report import write_report
from support.benches import parsed


def test_a_run_writes_both_files(tmp_path, capsys, monkeypatch):
    seen = []

    def provider(name):
        def train(scaled, plain, seed):
            seen.append((name, seed, len(scaled.x_train), len(plain.x_test)))
            back = scaled.x_test * scaled.preprocessing.inputs.scale + scaled.preprocessing.inputs.offset
            np.testing.assert_allclose(back, plain.x_test, rtol=1e-4, atol=1e-4)  # the same rows
            return 0.5 + 0.1 * seed, 7, 0.01

        return train

    for name in PROVIDERS:
        monkeypatch.setitem(PROVIDERS, name, provider(name))
    output = tmp_path / "t.csv"
    tables.run(parsed(tables, "--data", "wine", "--seeds", "2", "--output", str(output)))
    assert seen == [(name, seed, 142, 36) for seed in (0, 1) for name in PROVIDERS]
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(PROVIDERS)
    assert rows[0] == {
        "data": "wine",
        "measure": "accuracy",
        "provider": COMMAND,
        "seed": "0",
        "score": "0.500000",
        "parameters": "7",
        "seconds": "0.01",
    }
    assert (
        "| wine, accuracy | pn-gpu train | 7 | 0.5500 ± 0.0500 | +0.0000 ± 0.0000 | 0.01 |" in capsys.readouterr().out
    )


def test_the_providers_learn(tmp_path):
    path = write_table("wine", tmp_path)
    scaled, plain = (tables.load_table(path, target=TABLES["wine"].target, scale=scale) for scale in ("auto", "none"))
    for name in (COMMAND, ESTIMATOR, RIVAL):
        score, parameters, _ = PROVIDERS[name](scaled, plain, 0)
        assert score > 0.9
        assert parameters > 100
    assert PROVIDERS["scikit-learn MLP, inputs and targets scaled"](scaled, plain, 0) is None


def test_differences_are_taken_seed_by_seed():
    scores = [
        Score("wine", "accuracy", provider, seed, value, 1, 1.0)
        for provider, values in ((COMMAND, (0.9, 0.8, 0.7)), (RIVAL, (0.8, 0.7, 0.6)))
        for seed, value in enumerate(values)
    ]
    report = write_report(scores)
    assert "| 0.8000 ± 0.0577 | +0.1000 ± 0.0000 |" in report


def test_what_is_behind_is_said():
    values = {COMMAND: (0.5, 0.6), ESTIMATOR: (0.9, 0.6), RIVAL: (0.7, 0.8)}
    scores = [
        Score(data, "accuracy", provider, seed, value, 1, 1.0)
        for data in ("wine", "cars")
        for provider, pair in values.items()
        for seed, value in enumerate(pair if data == "wine" else (0.5, 0.5))
    ]
    assert f"more than that error: {COMMAND} on wine.\n" in write_report(scores)
    others = [score for score in scores if score.provider == RIVAL or score.data == "cars"]
    assert "more than that error: nothing.\n" in write_report(others)


def test_one_row_missed_in_one_split_is_not_more_than_an_error():
    rival = (0.973684, 0.982456, 0.991228, 0.956140, 0.964912)
    values = {COMMAND: (0.964912, *rival[1:]), ESTIMATOR: (0.964912, 0.973684, *rival[2:]), RIVAL: rival}
    scores = [
        Score(data, "accuracy", provider, seed, value, 1, 1.0)
        for data in ("wine", "cars")
        for provider, five in values.items()
        for seed, value in enumerate(five if data == "wine" else rival)
    ]
    assert f"more than that error: {ESTIMATOR} on wine.\n" in write_report(scores)
