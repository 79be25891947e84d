"""bench/on_gpu.sh, dry: the very path that it takes on a GPU, on tiny layers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench" / "on_gpu.sh"
PARTS = ["environment", "small case", "tests", "bf16", "fp32", "cupy", "rest", "overhead", "sets", "sanitizer"]


def test_all_parts_together_stay_within_520_seconds() -> None:
    limits = [int(seconds) for seconds in re.findall(r"_limit=(\d+)", SCRIPT.read_text())]
    assert len(limits) == len(PARTS)
    # `timeout` leaves a second to end in before it kills.
    assert sum(limits) + len(limits) <= 520
    assert re.findall(r"patience=(\d+)", SCRIPT.read_text())[0] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="a script for Linux")
def test_dry_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    # A GPU, if there is one, is left alone: its tests take minutes.
    environment = os.environ | {"OUT": str(tmp_path), "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", str(SCRIPT), "--dry-run"]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    summary = (tmp_path / "summary.txt").read_text().splitlines()
    assert [re.split(r"  +", line)[0] for line in summary] == PARTS
    assert all(re.search(r"  (ok, \d+ s|skipped: .+)$", line) for line in summary), summary
    assert [line for line in summary if " ok, " not in line] == summary[-1:]
    assert {"log.txt", "summary.txt", "gpu_times.csv", "gpu_table.txt"} <= {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) <= 8
    log = (tmp_path / "log.txt").read_text()
    assert "0 wrong of 36 on cpu" in log
    assert "tests/kernels/triton/test_gpu.py::" in log
    assert re.search(r"=+ \d+ skipped", log)
    # Every dtype's times came into the one table.
    table = (tmp_path / "gpu_table.txt").read_text()
    assert all(f"{dtype} step" in table for dtype in ("bf16", "fp32", "tf32"))
