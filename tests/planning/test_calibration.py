"""The costs of this machine: measured once, kept in a file, and what happens where the file is broken."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.planning import calibration
from support.clouds import FAVOUR_DIRECT


@pytest.fixture(autouse=True)
def measured_costs(fixed_costs, monkeypatch):
    """Without the fixed costs of the other tests."""
    monkeypatch.delenv("PN_GPU_COSTS")


def test_the_default_costs_are_measured_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PN_GPU_CACHE", str(tmp_path))
    monkeypatch.setattr(calibration, "DIRECT_WIDTH", {"cpu": 64})
    monkeypatch.setattr(calibration, "MEHLER_WIDTH", {"cpu": 64})
    like = np.zeros((1, 2), np.float32)
    costs = calibration.machine_costs(like)
    assert all(value > 0 for value in dataclasses.astuple(costs))
    (entry,) = json.loads((tmp_path / "costs.json").read_text()).values()
    assert pn.Costs(**entry) == costs
    monkeypatch.setattr(calibration, "measure", lambda like, numbers: pytest.fail("measured again"))
    monkeypatch.setattr(calibration, "_known", {})
    assert calibration.machine_costs(like) == costs


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PN_GPU_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(calibration, "measure", lambda like, numbers: FAVOUR_DIRECT)
    assert calibration.machine_costs(np.zeros(1)) == FAVOUR_DIRECT


@pytest.mark.parametrize("content", ["", "[]", '{"direct_call": 1}', '{"direct_call": "x"}'])
def test_a_broken_override_is_an_error(tmp_path, monkeypatch, content: str) -> None:
    (tmp_path / "costs.json").write_text(content)
    monkeypatch.setenv("PN_GPU_COSTS", str(tmp_path / "costs.json"))
    monkeypatch.setattr(calibration, "_known", {})
    with pytest.raises(ValueError, match="PN_GPU_COSTS"):
        calibration.machine_costs(np.zeros(1))


def test_a_broken_cache_is_measured_anew(tmp_path, monkeypatch) -> None:
    (tmp_path / "costs.json").write_text("{")
    monkeypatch.setenv("PN_GPU_CACHE", str(tmp_path))
    monkeypatch.setattr(calibration, "measure", lambda like, numbers: FAVOUR_DIRECT)
    assert calibration.machine_costs(np.zeros(1)) == FAVOUR_DIRECT
    assert json.loads((tmp_path / "costs.json").read_text())


def test_autocast_is_off_while_costs_are_measured(monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    seen = []

    def measure(like, numbers):
        seen.append(torch.is_autocast_enabled(like.device.type))
        return FAVOUR_DIRECT

    monkeypatch.setattr(calibration, "_measure", measure)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        calibration.measure(torch.zeros(1))
    assert seen == [False]
