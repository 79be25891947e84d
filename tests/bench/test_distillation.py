"""Dense networks replaced by particles: layer by layer, with what each way reaches, and a run goes on."""

import csv

import pytest
import torch
from torch import nn

from bench import distillation
from bench.distillation_training import accuracy, replaced, train_student, train_teacher
from pn_gpu.nn import ParticleLinear
from support.benches import easy_split, parsed

FEATURES, CLASSES = 30, 4


def some_split(num=800):
    return easy_split(num, FEATURES, CLASSES, distance=1.5)


def test_layers_are_replaced_from_the_first():
    split, sizes = some_split(), (FEATURES, 16, CLASSES)
    teacher = train_teacher(sizes, split, 20, 0.01, 0)
    assert accuracy(teacher, split) > 0.9
    fitted = replaced(teacher, (2, 4), 2, 0)
    half = replaced(teacher, (2, 4), 1, 0, fitted)
    assert [type(layer) for layer in half] == [ParticleLinear, nn.ReLU, nn.Linear]
    assert torch.equal(half[0].weight, fitted[0].weight)
    assert half[0].in_particles is not fitted[0].in_particles
    assert torch.equal(half[2].weight, teacher[2].weight)
    before = teacher[0].weight.clone()
    for way in distillation.WAYS[:2]:
        student = train_student(replaced(teacher, (2, 4), 2, 0, fitted), teacher, split, way, 0.01, 60, 0)
        assert accuracy(student, split) > 0.85
    assert torch.equal(teacher[0].weight, before)


def options(folder, *arguments):
    networks = ["--networks", f"{FEATURES}-8-{CLASSES}", "--teacher-epochs", "5"]
    return parsed(distillation, "--output", str(folder), *networks, *arguments)


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(distillation, "load_split", lambda name, data: some_split())
    monkeypatch.setattr(distillation, "DIMS", ((1, 3), (2, 2)))
    distillation.run(options(tmp_path, "--seeds", "1", "--epochs", "3"))
    results = tmp_path / "distillation.csv"
    first = results.read_text()
    monkeypatch.setattr(distillation, "_search", None)  # what was found is not searched again
    distillation.run(options(tmp_path, "--seeds", "1", "--epochs", "3"))
    assert results.read_text() == first
    distillation.run(options(tmp_path, "--seeds", "2", "--epochs", "3"))
    rows = list(csv.DictReader(results.read_text().splitlines()))
    stages = [row["stage"] for row in rows if row["dim"] == "1" and row["seed"] == "1"]
    assert stages == ["dense", "fit, 1 of 2 replaced", "fit, 2 of 2 replaced", *distillation.WAYS]
    for row in rows:
        count = {"1": 4 * (FEATURES + 8 + 8 + CLASSES), "2": 4 * (FEATURES + 8 + 8 + CLASSES)}[row["dim"]] + 8 + CLASSES
        if row["stage"] in distillation.WAYS:
            assert int(row["parameters"]) == count
            assert (row["steps"], row["errors"]) == ("12", "")
        if row["stage"].startswith("fit, 2 of"):
            assert all(0 <= float(error) < 1 for error in row["errors"].split())
    table = (tmp_path / "distillation.md").read_text()
    assert "| fresh, labels |" in table
    assert "12 steps; seeds: 2." in table


def test_bad_options_name_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(distillation, "load_split", lambda name, data: some_split())
    for arguments, message in (
        (["--networks", "many"], "--networks: got 'many'"),
        (["--networks", "784-10"], "--networks: got 784-10"),
        (["--teacher-epochs", "0"], "--teacher-epochs: got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            distillation.run(options(tmp_path, *arguments))
    with pytest.raises(FileNotFoundError, match="--output"):
        distillation.run(options(tmp_path / "none"))
