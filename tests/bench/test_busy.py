"""A layer beside busy processes, tiny and for a moment."""

import csv
import subprocess
import time

import pytest

from bench import busy, harness
from support.benches import parsed


def test_every_way_is_a_row_and_no_process_is_left(monkeypatch, tmp_path, capsys):
    started = []
    start = subprocess.Popen
    monkeypatch.setattr(busy.subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[-1])
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    arguments = ["--nodes", "40", "--batch", "4", "--per-core", "1", "--seconds", "0", "--no-torch", "--save", "small"]
    busy.run(parsed(busy, *arguments))
    with (tmp_path / "small.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == [busy.YARDSTICK, "mehler", "direct"]
    assert "a fair share takes" in capsys.readouterr().out
    assert started
    assert all(process.returncode is not None for process in started)


def test_busy_processes_end_with_an_error_too_and_by_themselves():
    with pytest.raises(RuntimeError), busy.busy(1, 60):
        raise RuntimeError
    begun = time.monotonic()
    process = subprocess.Popen([busy.sys.executable, "-c", busy.WORK, "0.1"])
    assert process.wait(timeout=30) == 0
    assert time.monotonic() - begun >= 0.1
