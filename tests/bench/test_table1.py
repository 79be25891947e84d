"""The runner of Table 1: resumes, refuses bad input, and sums up what it finds."""

import csv
import dataclasses
from pathlib import Path

import pytest

from bench import table1
from bench.__main__ import main as bench_main
from bench.table1_report import HEADER, PAPER, summarise, write_report
from bench.table1_results import COLUMNS, Result, append_result, read_results
from support.benches import parsed
from support.idx_files import write_mnist_like


def options(folder, *arguments):
    return parsed(table1, "--data", str(folder / "images"), "--output", str(folder), "--epochs", "1", *arguments)


@pytest.fixture
def folder(tmp_path):
    write_mnist_like(tmp_path / "images", num_train=300, num_test=100)
    return tmp_path


def result(**changes):
    values = dict.fromkeys(COLUMNS, "1") | {
        "data": "mnist",
        "topology": "784-64-10",
        "dim": "3",
        "optimizer": "Adam",
        "parameters": "5206",
        "train_accuracy": "0.973",
        "test_accuracy": "0.962",
    }
    return Result(**(values | changes))


@pytest.mark.slow
def test_trains_what_is_missing_and_nothing_twice(folder, capsys):
    pytest.importorskip("matplotlib")
    first = options(folder, "--recipes", "modern", "--seeds", "1", "--only", "16-10,16-16-10", "--dims", "2")
    table1.run(first)
    out = capsys.readouterr().out
    assert "table1: 4 networks on images, 0 of them trained before" in out
    assert "[4/4]" in out
    results = read_results(folder / "table1.csv")
    assert {(r.topology, r.dim) for r in results} == {(t, d) for t in ("16-10", "16-16-10") for d in ("0", "2")}
    assert {r.parameters for r in results if r.topology == "16-16-10"} == {"258", "442"}  # Eq. 5 and 64, and Eq. 6
    for name in ("table1.md", "table1.png", "table1.svg"):
        assert (folder / name).stat().st_size > 0
    assert not (folder / ".table1").exists()

    table1.run(first)
    assert "4 of them trained before" in capsys.readouterr().out
    assert read_results(folder / "table1.csv") == results

    table1.run(options(folder, "--recipes", "modern", "--seeds", "2", "--only", "16-10", "--dims", "2", "--jobs", "2"))
    assert "table1: 4 networks on images, 2 of them trained before" in capsys.readouterr().out
    assert len(read_results(folder / "table1.csv")) == 6


def test_a_cell_goes_on_from_its_checkpoint(folder, tmp_path):
    """A network that was cut off after three epochs ends exactly as one that was not."""
    source = str(folder / "images")
    cell = table1.Cell(source, (16, 8, 10), dim=2, recipe="paper", lr=None, seed=0, epochs=6)
    data = table1.load(source)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    expected = table1.train_cell(cell, whole)

    checkpoint = table1.checkpoint_of(cell, data, halves)
    network = cell.network()
    network.fit(data.x_train, data.y_train, epochs=3, seed=0, checkpoint=checkpoint, **cell.training())
    resumed = table1.train_cell(cell, halves)
    assert resumed.test_loss == expected.test_loss
    assert resumed.train_accuracy == expected.train_accuracy
    assert not checkpoint.exists()


def test_order_small_first_and_every_cell_before_a_second_seed(folder):
    data = table1.load(folder / "images")
    cells = table1.make_cells(options(folder, "--recipes", "modern", "--seeds", "2"), data)
    assert len(cells) == 10 * 3 * 2
    assert len({cell.key(data) for cell in cells}) == 60
    assert [cell.seed for cell in cells] == [0] * 30 + [1] * 30
    assert cells[0].topology == "16-10"
    work = [cell.work for cell in cells[:30]]
    assert work == sorted(work)


def test_a_perceptron_has_a_learning_rate_of_its_own(folder):
    data = table1.load(folder / "images")
    cells = table1.make_cells(options(folder, "--recipes", "modern", "--lr", "0.05", "--only", "16-10"), data)
    assert {(cell.dim > 0, cell.lr) for cell in cells} == {(True, 0.05), (False, table1.DENSE_LR["modern"])}


def test_bad_input(folder):
    for arguments, message in (
        (["--recipes", "old"], "--recipes: got 'old', want some of modern,paper"),
        (["--only", "784-3-10"], "--only: got '784-3-10'"),
        (["--dims", "two"], "--dims: got 'two'"),
        (["--jobs", "0"], "--jobs: got 0"),
        (["--seeds", "0"], "--seeds and --epochs: got 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            table1.run(options(folder, *arguments))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        table1.run(options(folder, "--data", str(folder / "nowhere")))
    with pytest.raises(FileNotFoundError, match="--output"):
        table1.run(options(folder, "--output", str(folder / "nowhere")))


def test_bad_input_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "table1", "--data", str(folder / "nowhere")])
    assert bench_main() == 2
    error = capsys.readouterr().err
    assert error.startswith("bench: error: ")
    assert error.count("\n") == 1


def test_the_file_is_read_as_written_and_a_damaged_one_refused(tmp_path):
    path = tmp_path / "table1.csv"
    assert read_results(path) == []
    lines = [result(seed=str(seed)) for seed in range(3)]
    for line in lines:
        append_result(path, line)
    assert read_results(path) == lines
    assert list(csv.DictReader(path.read_text().splitlines()))[1] == dataclasses.asdict(lines[1])
    whole = path.read_text()
    path.write_text(whole[:-10])
    with pytest.raises(ValueError, match="line 4 has"):
        read_results(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="got the columns a,b"):
        read_results(path)


def test_summary_of_seeds():
    (cell,) = summarise([result(seed="0", test_accuracy="0.96"), result(seed="1", test_accuracy="0.97")])
    assert cell.num_seeds == 2
    assert cell.test == pytest.approx(96.5)
    assert cell.test_spread == pytest.approx(0.5**0.5)
    assert cell.paper == (97.3, 96.2)
    assert cell.gain == pytest.approx(0.3)


def test_settings_of_a_cell_are_not_mixed():
    (cell,) = summarise([result(test_accuracy="0.1"), result(optimizer="other", test_accuracy="0.9")])
    assert (cell.num_seeds, cell.test) == (1, pytest.approx(90))


def test_report(tmp_path):
    pytest.importorskip("matplotlib")
    lines = [
        result(test_accuracy="0.95"),
        result(topology="784-10", parameters="4774", test_accuracy="0.93"),
        result(dim="0", topology="784-32-10", parameters="25450", test_accuracy="0.96"),
    ]
    text = write_report(lines, tmp_path)
    assert "n = 3: test accuracy -0.40 points against the paper's, mean of 2 of 10 topologies" in text
    assert "more than 0.2 below it: 784-64-10" in text
    assert "95.00 % with 5,206 parameters; the smallest perceptron here that reaches it is 784-32-10" in text
    markdown = Path(tmp_path / "table1.md").read_text()
    assert f"| {' | '.join(HEADER)} |" in markdown
    assert "| 784-10 | n = 3 | 4,774 |" in markdown
    assert write_report([], tmp_path) == "table1: no results yet"


def test_the_papers_figures():
    assert len(PAPER) == 20
    assert {hidden for hidden, _ in PAPER} == set(table1.HIDDEN)
    assert PAPER[(256, 128), 3] == (98.0, 96.6)
