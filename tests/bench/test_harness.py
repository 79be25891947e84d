"""Tables, pictures and peaks, as every benchmark reports them."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from bench import harness


def test_a_table_is_printed_and_saved(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    rows = [{"width": 10, "error": 1.25e-7, "ms": 12.0}, {"width": 200, "error": float("nan"), "ms": 0.5}]
    harness.report("a title", rows, "small")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["a", "title"],
        ["width", "error", "ms"],
        ["10", "1.25e-07", "12.000"],
        ["200", "nan", "0.500"],
    ]
    path = tmp_path / "results" / "small.csv"
    assert lines[-1] == f"written: {path}"
    with path.open() as file:
        saved = list(csv.DictReader(file))
    assert [(row["width"], row["error"]) for row in saved] == [("10", "1.25e-07"), ("200", "nan")]
    assert saved[0]["numpy"] == np.__version__


def test_a_table_that_is_not_saved_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    harness.report("a title", [{"width": 10}])
    assert "written" not in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_the_same_picture_gives_the_same_files(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        figure = harness.new_figure(3, 2)
        axes = figure.subplots()
        axes.loglog([1, 10], [1, 100], "o-", label="a line")
        axes.legend()
        harness.save_picture(figure, folder / "cost.of.it")
        assert f"written: {folder / 'cost.of.it'}.png and .svg" in capsys.readouterr().out
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["cost.of.it.png", "cost.of.it.svg"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert "a line" in (folder / "cost.of.it.svg").read_text()


def test_without_matplotlib_there_is_no_figure(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert harness.new_figure(3, 2) is None
    assert "no picture: matplotlib is not installed" in capsys.readouterr().out


def test_the_peak_is_in_bytes_and_stays_when_memory_is_freed():
    """In a fresh process, which knows no higher peak."""
    program = "import numpy as np; from bench.harness import peak_bytes; np.ones(200_000_000, np.uint8); "
    done = subprocess.run(
        [sys.executable, "-c", program + "print(peak_bytes())"], capture_output=True, text=True, check=True
    )
    assert 200e6 < int(done.stdout) < 1e9
