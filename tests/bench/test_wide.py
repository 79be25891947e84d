"""Wide layers beside dense ones: the rival computes the same, and what is left out is said."""

import csv
import math
from functools import partial

import numpy as np
import pytest

import pn_gpu as pn
from bench import harness, rivals, wide
from bench.layers import random_layer, training_step
from bench.rivals import GRADIENTS, autograd_step
from bench.wide_rival import linear
from support.benches import parsed

SIZE = 256  # wide enough for an expansion in two dimensions with a spread of 0.5


def options(*arguments):
    return parsed(wide, "--sizes", str(SIZE), "--rounds", "3", *arguments)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No waiting for threads of BLAS, one case, files in a temporary folder."""
    monkeypatch.setattr(harness, "SPIN_SECONDS", 0)
    monkeypatch.setattr(wide, "CASES", [(2, 0.5)])
    for module in (harness, wide):
        monkeypatch.setattr(module, "RESULTS", tmp_path)


def saved(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("dim", "size", "spread"), [(1, 200, 0.5), (2, 600, 0.3), (3, 1500, 0.2)])
def test_the_rival_computes_the_expansion(dim, size, spread):
    pytest.importorskip("torch")
    layer = random_layer(8, size, size // 2, dim, "float64", spread=spread)
    plan = pn.plan(*layer.particles, method="mehler")
    approximation = plan.approximation
    assert len(approximation.left_out_in) + len(approximation.left_out_out) == 0  # those ours computes exactly
    gradients = autograd_step(layer, partial(linear, expansion=approximation.expansion))()
    ours = training_step(layer, plan)[1]
    assert tuple(gradients) == GRADIENTS
    # The same sums in float64, in another order.
    for name, got in gradients.items():
        want = getattr(ours, name)
        assert np.linalg.norm(np.asarray(got) - want) < 1e-13 * np.linalg.norm(want)


def test_table(tmp_path, capsys):
    pytest.importorskip("torch")
    wide.run(options())
    (row,) = saved(tmp_path / "cpu_wide.csv")
    assert (row["n"], row["width"], row["batch"]) == ("2", str(SIZE), "128")
    assert int(row["features"]) > 0
    assert 0 < float(row["z_error"]) < 1e-3
    assert float(row["torch_ratio"]) > 0
    assert {"cpu", "threads", "numpy"} <= set(row)
    out = capsys.readouterr().out
    assert out.startswith(f"  n 2, spread 0.500, width {SIZE}, ")
    assert "skipped" not in out


def test_without_torch_the_column_is_empty_and_says_why(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(rivals, "is_installed", lambda package: package != "torch")
    wide.run(options())
    assert capsys.readouterr().out.startswith("skipped: the expansion in torch: torch is not installed")
    (row,) = saved(tmp_path / "cpu_wide.csv")
    assert math.isnan(float(row["torch_ratio"]))
    assert float(row["ratio"]) > 0


def test_without_an_expansion_the_column_is_empty_and_says_why(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(wide, "CASES", [(3, 2.0)])
    wide.run(options("--no-files"))
    out = capsys.readouterr().out
    assert out.startswith("skipped: the expansion in torch: no expansion of at most ")
    assert "torch_ratio nan" in out
    assert not list(tmp_path.iterdir())


def test_a_wrong_rival_ends_the_comparison(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(wide, "linear", lambda x, *rest, expansion: 1.2 * linear(x, *rest, expansion))
    with pytest.raises(SystemExit, match=r"the plain expansion in torch is wrong: error 2\.0e-01"):
        wide.run(options())


def test_million(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(wide, "MILLION", 3000)
    wide.run(options("--million"))
    (row,) = saved(tmp_path / "cpu_wide_million.csv")
    assert (row["width"], row["batch"], row["rtol"]) == ("3000", "16", "0.001")
    assert 0 < float(row["error"]) <= float(row["certificate"]) <= 1e-3
    assert 0.01 < float(row["peak_gb"]) < 100
    assert "mehler (auto asked for)" in capsys.readouterr().out


def test_widths(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(wide, "WIDTHS", [500, 1000])
    monkeypatch.setattr(wide, "DENSE_WIDTHS", [300, 600])
    monkeypatch.setattr(wide, "SLOPE_FROM", 100)
    wide.run(options("--widths"))
    rows = saved(tmp_path / "cpu_wide_widths.csv")
    assert [(row["method"], row["width"]) for row in rows] == [
        ("mehler", "500"),
        ("mehler", "1000"),
        ("dense", "300"),
        ("dense", "600"),
    ]
    assert all(float(row["seconds"]) > 0 for row in rows)
    out = capsys.readouterr().out
    assert "mehler: slope" in out
    assert "dense: slope" in out
    assert {path.name for path in tmp_path.glob("cpu_wide_widths.*")} == {
        f"cpu_wide_widths.{suffix}" for suffix in ("csv", "png", "svg")
    }
