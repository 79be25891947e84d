"""Networks at equal numbers of parameters: the counts are true, every family learns, and a run goes on."""

import csv

import numpy as np
import pytest
import torch

from bench import equal_parameters
from bench.compressed import FAMILIES, particles
from bench.equal_parameters_training import Setting, search, train
from support.benches import easy_split, parsed

FEATURES, CLASSES, BUDGET = 30, 4, 700
# Dipoles of 32 components fit larger budgets alone.
BUDGETS = {
    name: {FEATURES: 4000, 784: 50_000} if "d=32" in name else {FEATURES: BUDGET, 784: 10_000} for name in FAMILIES
}


@pytest.fixture(autouse=True)
def features_on_a_grid(monkeypatch):
    monkeypatch.setitem(particles.GRIDS, FEATURES, (5, 6))
    monkeypatch.setitem(particles.FIELD_GRIDS, FEATURES, (3,))


def some_split(num=400):
    return easy_split(num, FEATURES, CLASSES)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("sizes", [(FEATURES, CLASSES), (784, 10)])
def test_counts_are_those_of_the_module(name, sizes):
    family, budget = FAMILIES[name], BUDGETS[name][sizes[0]]
    shapes = family.shapes(*sizes, budget)
    assert shapes
    for shape in shapes:
        network = family.make(*sizes, shape, 1.0, torch.Generator().manual_seed(0))
        assert network(torch.zeros(3, sizes[0])).shape == (3, sizes[1])
        count = family.parameters(*sizes, shape)
        assert 0.8 * budget <= count <= budget
        if name == "pruned":
            family.after_step(network, shape, 1.0, budget)
            kept = sum(int(layer.mask.sum()) for layer in network.modules() if hasattr(layer, "mask"))
            assert kept + shape.hidden + sizes[1] == count
        else:
            assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_learns(name):
    split = some_split()
    budget = BUDGETS[name][FEATURES]
    shape = FAMILIES[name].shapes(FEATURES, CLASSES, budget)[0]
    outcome = train(FAMILIES[name], Setting(shape, 0.05, 1.0), budget, split, epochs=40, seed=0)
    assert outcome.accuracy > 0.8
    assert outcome.step_ms > 0


def test_a_search_sees_no_test_examples():
    split = some_split()
    spoilt = split._replace(x_test=np.full_like(split.x_test, np.nan))
    family = FAMILIES["dense"]
    assert search(family, BUDGET, split, 3, 2, 0) == search(family, BUDGET, spoilt, 3, 2, 0)


def test_features_without_places_have_no_network_of_known_places():
    assert FAMILIES["particles with places d=4"].shapes(31, CLASSES, BUDGET) == []


def test_a_budget_below_one_network_is_said():
    assert search(FAMILIES["particles n=3 d=3"], 100, some_split(), 3, 1, 0) is None


def options(folder, *arguments):
    return parsed(equal_parameters, "--output", str(folder), *arguments)


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(equal_parameters.EPOCHS, "segments", 3)
    monkeypatch.setattr(equal_parameters, "load_split", lambda name, mnist: some_split())
    chosen = ["--sets", "segments", "--budgets", "100,700", "--trials", "2", "--families"]
    equal_parameters.run(options(tmp_path, *chosen, "dense,particles n=3 d=3", "--seeds", "1"))
    assert "particles n=3 d=3: no network fits" in capsys.readouterr().out
    first = (tmp_path / "equal_parameters.csv").read_text()
    equal_parameters.run(options(tmp_path, *chosen, "dense,particles n=3 d=3", "--seeds", "1"))
    assert (tmp_path / "equal_parameters.csv").read_text() == first
    equal_parameters.run(options(tmp_path, *chosen, "dense", "--seeds", "2"))
    rows = list(csv.DictReader((tmp_path / "equal_parameters.csv").read_text().splitlines()))
    assert [(r["budget"], r["family"], r["seed"]) for r in rows if r["family"] == "dense"] == [
        ("100", "dense", "0"),
        ("700", "dense", "0"),
        ("100", "dense", "1"),
        ("700", "dense", "1"),
    ]
    table = (tmp_path / "equal_parameters.md").read_text()
    assert "700 parameters: particles: particles n=3 d=3" in table
    assert (tmp_path / "equal_parameters.png").stat().st_size > 0


def test_steps_are_measured_once_and_older_files_are_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(equal_parameters.FEATURES_AND_CLASSES, "segments", (1000, 7))
    path = tmp_path / "equal_parameters.csv"
    older = [column for column in equal_parameters.COLUMNS if column not in equal_parameters.ADDED]
    line = dict.fromkeys(older, "x") | {"data": "segments", "budget": 700, "family": "dense", "hidden": 1000, "size": 1}
    line |= {"seed": 0, "parameters": 680, "trials": 2, "test_accuracy": 0.9, "step_ms": 99}
    unfit = dict.fromkeys(older, "") | {"data": "segments", "budget": 100, "family": "pruned", "trials": 2}
    path.write_text("\n".join(",".join(str(row[column]) for column in older) for row in (_header(older), line, unfit)))
    equal_parameters.run(options(tmp_path, "--steps", "--budgets", "700", "--sets", "mnist"))
    assert "hidden nodes: " not in capsys.readouterr().out
    equal_parameters.run(options(tmp_path, "--steps", "--budgets", "700"))
    assert "segments dense 1000 hidden nodes: " in capsys.readouterr().out
    first, second = csv.DictReader(path.read_text().splitlines())
    assert float(first["step_alone_ms"]) > 0
    assert 4 * 4 < float(first["step_mb"]) < 12 * 4  # W of 4 MB, its gradient, Adam's two averages and temporaries
    assert first["step_ms"] == "99"
    assert second["step_mb"] == ""
    table = (tmp_path / "equal_parameters.md").read_text()
    assert f"| {float(first['step_alone_ms']):.2f} | {float(first['step_mb']):.1f} |" in table
    before = path.read_text()
    equal_parameters.run(options(tmp_path, "--steps"))
    assert path.read_text() == before
    path.write_text(before.replace("step_mb", "memory"))
    with pytest.raises(ValueError, match="got the columns"):
        equal_parameters.run(options(tmp_path, "--steps"))


def _header(columns):
    return {column: column for column in columns}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "cifar"], "--sets: got 'cifar'"),
        (["--budgets", "many", "--sets", "segments"], "--budgets: got 'many'"),
        (["--families", "tree", "--sets", "segments"], "--families: got 'tree'"),
        (["--trials", "0"], "--trials: got 0"),
    ],
)
def test_bad_options_name_themselves(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(equal_parameters, "load_split", lambda name, mnist: some_split())
    with pytest.raises(ValueError, match=message):
        equal_parameters.run(options(tmp_path, *arguments))
