"""train_wide: two networks by turns, a line for every epoch of each, and it goes on where it was cut off."""

import numpy as np
import pytest

pytest.importorskip("torch")
from bench import train_wide, train_wide_report
from bench.train_wide_dense import DenseTraining, best_rate
from bench.train_wide_turns import Turns
from support.benches import parsed
from support.idx_files import write_mnist_like


@pytest.fixture
def folder(tmp_path):
    write_mnist_like(tmp_path / "images", num_train=300, num_test=100)
    return tmp_path


def options(folder, *arguments):
    small = ["--widths", "12", "--epochs", "2", "--block", "2", "--race-steps", "5", "--dense-rates", "0.001", "0.01"]
    return parsed(train_wide, "--data", str(folder / "images"), "--output", str(folder), *small, *arguments)


@pytest.mark.slow
def test_goes_on_where_it_was_cut_off(folder, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(train_wide, "in_fresh_process", lambda function, network: function(network))
    write_rows = Turns.on_epoch_end

    def cut_off(turns, run):
        if run.epoch == 2:
            raise RuntimeError("cut off")
        write_rows(turns, run)

    monkeypatch.setattr(Turns, "on_epoch_end", cut_off)
    with pytest.raises(RuntimeError):
        train_wide.run(options(folder))
    rows = train_wide_report.read_rows(folder / "train_wide.csv")
    assert [(row.network, row.epoch) for row in rows] == [("particles", 1), ("dense", 1)]

    monkeypatch.setattr(Turns, "on_epoch_end", write_rows)
    train_wide.run(options(folder))
    rows = train_wide_report.read_rows(folder / "train_wide.csv")
    assert [(row.network, row.epoch, row.steps) for row in rows if row.network == "particles"] == [
        ("particles", 1, 3),
        ("particles", 2, 6),
    ]
    particles, dense = rows[-2:]
    assert particles.parameters == 9 * 16 + 10 * (12 + 12 + 10)  # Eq. 5 with n + d = 9
    assert dense.parameters == 17 * 12 + 13 * 12 + 13 * 10  # Eq. 6
    assert dense.steps == 2 * rows[1].steps > 0
    assert particles.ratio > 0
    assert particles.peak_mb >= 0
    assert (folder / "train_wide.png").stat().st_size > 0

    capsys.readouterr()
    train_wide.run(options(folder))
    assert "done before" in capsys.readouterr().out
    assert not list((folder / train_wide.CHECKPOINTS).glob("*.pt"))


def test_the_best_rate_wins():
    rng = np.random.default_rng(0)
    x = rng.random((300, 6), dtype=np.float32)
    y = (x[:, 0] > 0.5).astype(np.int64)
    lr, losses = best_rate([6, 8, 2], x, y, [1e-6, 0.05], 30)
    assert lr == 0.05
    assert losses[0.05] < losses[1e-6]


def test_dense_training_goes_on_as_it_was():
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 6), dtype=np.float32), rng.integers(0, 3, 20)
    straight, first = (DenseTraining([6, 8, 3], 0.01, 10, seed=0) for _ in range(2))
    for training, steps in ((straight, 6), (first, 3)):
        for _ in range(steps):
            training.step(x, y)
    second = DenseTraining([6, 8, 3], 0.01, 10, seed=1)
    second.load_state(first.state())
    for _ in range(3):
        second.step(x, y)
    assert second.losses[-1] == straight.losses[-1]
