"""A person's own tables on the command line: trained on, predicted, evaluated, in any container."""

import gzip
from pathlib import Path

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.cli import main

QUICK = ["--epochs", "30", "--hidden", "16", "--backend", "numpy", "--quiet"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def prices():
    """A table of numbers far from 0 and 1: rooms, area, year and a price that a line describes."""
    rng = np.random.default_rng(0)
    rooms, area, year = rng.integers(1, 6, 200), rng.uniform(3e4, 9e4, 200), rng.integers(1950, 2020, 200)
    price = np.round(3000 * rooms + area / 2 + 500 * (year - 1950) + rng.normal(0, 500, 200))
    rows = np.column_stack([rooms, area, year, price])
    np.savetxt("prices.csv", rows, delimiter=",", header="rooms,area,year,price", comments="", fmt="%.12g")
    return rows


def out(capsys, *arguments):
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_an_unscaled_regression(capsys, prices):
    text = out(capsys, "train", *QUICK, "--data", "prices.csv", "--target", "price")
    assert "inputs    standardised (mean 0, deviation 1)" in text
    assert "target    'price': numbers, " in text
    assert "(--task classification takes them for classes)" in text
    assert "accuracy" not in text
    test_line = next(line for line in text.splitlines() if line.startswith("test "))
    assert float(test_line.split("R2 ")[1].split()[0]) > 0.9
    network = pn.load("pn-prices.safetensors", backend="numpy")
    assert network.loss.name == "mse"
    assert network.sizes == (3, 16, 1)
    # The RMSE that is printed is that of the predictions in the target's own units.
    predicted = np.array(out(capsys, "predict", "pn-prices.safetensors", "--data", "prices.csv").split(), float)
    rmse = np.sqrt(((predicted - prices[:, 3]) ** 2).mean())
    all_line = out(capsys, "evaluate", "pn-prices.safetensors", "--data", "prices.csv").splitlines()[-1]
    assert float(all_line.split("RMSE ")[1].split()[0]) == pytest.approx(rmse, rel=1e-3)
    assert f"RMSE {prices[:, 3].std():.4g})" in all_line


def test_the_same_inputs_in_any_container_are_predicted_alike(capsys, prices):
    out(capsys, "train", *QUICK, "--data", "prices.csv")
    want = out(capsys, "predict", "pn-prices.safetensors", "--data", "prices.csv")
    np.save("x.npy", prices[:, :3])
    np.savez("x.npz", x=prices[:, :3])
    np.savetxt("swapped.tsv", prices[:, [2, 0, 1]], delimiter="\t", header="year\trooms\tarea", comments="")
    Path("prices.csv.gz").write_bytes(gzip.compress(Path("prices.csv").read_bytes()))
    for name in ("x.npy", "x.npz", "swapped.tsv", "prices.csv.gz"):
        assert out(capsys, "predict", "pn-prices.safetensors", "--data", name) == want, name


def test_scale_none_leaves_the_numbers_alone(capsys, prices):
    np.savetxt("small.csv", prices / prices.max(axis=0), delimiter=",")
    text = out(capsys, "train", *QUICK, "--data", "small.csv", "--scale", "none", "--task", "regression")
    assert "inputs    as they are" in text
    network = pn.load("pn-small.safetensors", backend="numpy")
    predicted = network.predict((prices / prices.max(axis=0))[:, :3].astype(np.float32))
    printed = np.array(out(capsys, "predict", "pn-small.safetensors", "--data", "small.csv").split(), float)
    np.testing.assert_allclose(printed, predicted[:, 0], rtol=1e-5)


@pytest.mark.parametrize(("task", "outputs"), [((), 6), (("--task", "regression"), 1)])
def test_a_count_works_as_classes_and_as_numbers(capsys, task, outputs):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 2))
    np.savetxt("counts.csv", np.column_stack([x, np.arange(120) % 6]), delimiter=",")
    text = out(capsys, "train", *QUICK, "--data", "counts.csv", *task)
    assert ("6 classes: 0, 1, 2, 3, 4, 5 (--task regression takes them for numbers)" in text) == (outputs == 6)
    assert pn.load("pn-counts.safetensors", backend="numpy").sizes[-1] == outputs


def test_words_and_gaps(capsys):
    pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    kinds, islands = rng.integers(0, 3, 150), rng.integers(0, 2, 150)
    lines = [
        f"{i},{'NA' if i % 20 == 0 else round(40.0 + 5 * kind + rng.normal(), 3)},{['Dream', 'Biscoe'][island]},"
        f"{['Adélie', 'Gentoo, small', 'Chinstrap'][kind]}"
        for i, (kind, island) in enumerate(zip(kinds, islands, strict=True))
    ]
    lines = [line.replace("Gentoo, small", '"Gentoo, small"') for line in lines]
    Path("penguins.csv").write_text("\n".join([",bill,island,species", *lines]), encoding="latin-1")
    text = out(capsys, "train", *QUICK, "--data", "penguins.csv")
    assert "3 classes: Adélie, Chinstrap, Gentoo, small" in text
    assert "8 missing values" in text
    assert "first column has no name and is left out" in text
    assert "read as Latin-1" in text
    predicted = out(capsys, "predict", "pn-penguins.safetensors", "--data", "penguins.csv").splitlines()
    assert set(predicted) == {"Adélie", "Chinstrap", '"Gentoo, small"'}
    right = [word.strip('"') == line.split(",", 3)[3].strip('"') for word, line in zip(predicted, lines, strict=True)]
    assert np.mean(right) > 0.9
    assert main(["predict", "pn-penguins.safetensors", "--data", "penguins.csv", "--proba"]) == 0
    captured = capsys.readouterr()
    assert "columns: Adélie, Chinstrap, Gentoo, small" in captured.err
    np.testing.assert_allclose(np.loadtxt(captured.out.splitlines(), delimiter=",").sum(axis=1), 1, rtol=1e-6)


def test_messages_name_the_flag(capsys, prices):
    for arguments, message in (
        (["--target", "cost"], "--target: got 'cost', want a column of prices.csv: rooms, area, year, price"),
        (["--drop", "attic"], "--drop: got 'attic', want a column"),
        (["--test-fraction", "2"], "--test-fraction: got 2.0"),
        (["--early-stopping", "0"], "--early-stopping: got 0"),
        (["--seed", "-1"], "--seed: got -1"),
        (["--batch-size", "0"], "--batch-size: got 0"),
        (["--dropout", "1"], "--dropout: got 1.0"),
    ):
        assert main(["train", *QUICK, "--data", "prices.csv", *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"pn-gpu: error: {message}")
    assert main(["train", *QUICK, "--target", "price"]) == 2
    assert "error: --target: no option of load_digits" in capsys.readouterr().err


def test_a_network_without_preprocessing_takes_numbers_as_they_are(capsys, prices):
    network = pn.ParticleNetwork([4, 5, 2], seed=0, backend="numpy")
    network.save("plain.safetensors")
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    np.save("x.npy", x)
    printed = out(capsys, "predict", "plain.safetensors", "--data", "x.npy").split()
    assert list(map(int, printed)) == network.predict(x).tolist()


def test_a_network_without_preprocessing_is_evaluated_on_numbers_as_they_are(capsys, prices):
    """Labels too: a class that the table lacks does not move the others."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 4)).astype(np.float32)
    network = pn.ParticleNetwork([4, 5, 3], seed=0, backend="numpy")
    network.save("plain.safetensors")
    labels = np.where(np.arange(30) % 2, 2, 0)
    np.savetxt("t.csv", np.column_stack([x * 1.0, labels]), delimiter=",", fmt="%.9g")
    line = out(capsys, "evaluate", "plain.safetensors", "--data", "t.csv").splitlines()[-1]
    want = network.evaluate(x, labels)
    assert f"accuracy {100 * want['accuracy']:.2f} %" in line
    assert f"loss {want['loss']:.4f}" in line
    main(["train", *QUICK, "--data", "digits", "--scale", "none", "--output", "raw.safetensors"])
    assert "inputs    as they are" in capsys.readouterr().out


def test_damaged_preprocessing_is_refused(capsys, prices):
    from pn_gpu.data import load_digits

    network = pn.ParticleNetwork([4, 5, 2], seed=0, backend="numpy")
    network.preprocessing = load_digits().preprocessing
    network.save("other.safetensors")
    assert main(["predict", "other.safetensors", "--data", "prices.csv"]) == 2
    assert "other.safetensors: its preprocessing has (64, 10) inputs and outputs" in capsys.readouterr().err
