"""What the default method costs beside the direct one, on tiny layers."""

import csv

from bench import auto, harness
from support.benches import parsed


def test_every_layer_is_a_row(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(harness, "SPIN_SECONDS", 0)
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(auto, "ALLOWED", 0.0)
    arguments = ["--nodes", "20", "30", "--batch", "4", "--dims", "2", "--spreads", "0.5", "1", "--seconds", "0"]
    auto.run(parsed(auto, *arguments, "--save", "small"))
    with (tmp_path / "small.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["N=M"], row["s"]) for row in rows] == [("20", "0.5"), ("20", "1.0"), ("30", "0.5"), ("30", "1.0")]
    # So few weights never pay for an expansion.
    assert {(row["chosen"], row["features"]) for row in rows} == {("direct", "0")}
    assert "4 of 4 layers are more than" in capsys.readouterr().out
