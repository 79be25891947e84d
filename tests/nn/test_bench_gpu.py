"""The GPU benchmark on tiny layers of the CPU: its plumbing, not its times."""

from __future__ import annotations

import argparse
import csv

import pytest
import torch

from bench import gpu, gpu_cases, gpu_report
from bench.gpu_roofline import Roofline


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    return parser.parse_args([*arguments])


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def dry_run(folder, *arguments):
    common = ["--dry-run", "--device", "cpu", "--sizes", "12", "--output", str(folder), "--dtypes"]
    return gpu.run(options(*common, *arguments))


def test_dry_run(tmp_path):
    assert dry_run(tmp_path, "tf32", "--batches", "1", "128", "--dims", "2") == 0
    with (tmp_path / "gpu_times.csv").open() as file:
        rows = list(csv.DictReader(file))
    contenders = {(row["contender"], row["batch"]) for row in rows}
    assert {("linear", "1"), ("particles", "128"), ("particles bf16x3", "1"), ("materialised", "1")} < contenders
    assert all(float(row["median_us"]) > 0 for row in rows if row["status"] == "ok")
    errors = [float(row["error"]) for row in rows if row["error"]]
    assert len(errors) == 8
    assert max(errors) < 1e-5
    assert {row["status"] for row in rows if row["contender"] == "keops"} == {"skipped: KeOps computes in fp32"}
    text = (tmp_path / "gpu_table.txt").read_text()
    assert "times mean nothing" in text
    assert "tf32 step" in text
    assert "skipped: KeOps" in text


def test_failure_is_reported_and_ends_with_1(tmp_path, monkeypatch):
    def broken(self, x):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(gpu_cases.MaterialisedLinear, "forward", broken)
    assert dry_run(tmp_path, "fp32", "--batches", "1", "--dims", "2") == 1
    text = (tmp_path / "gpu_table.txt").read_text()
    assert "materialised n=2: failed: RuntimeError: no such luck" in text
    assert "particles n=2" in text


def test_spent_budget_leaves_cases_out(tmp_path):
    assert dry_run(tmp_path, "fp32", "--batches", "1", "--time-budget", "0") == 1
    assert "left out: the time budget of 0 s was spent" in (tmp_path / "gpu_table.txt").read_text()


def test_what_a_killed_run_measured_is_kept_and_not_measured_again(tmp_path, monkeypatch):
    measured = []
    of = gpu.Measurement.of

    def until_killed(self, entrants):
        measured.append((self.case.dtype, self.case.batch))
        if len(measured) == 3:
            raise KeyboardInterrupt
        return of(self, entrants)

    monkeypatch.setattr(gpu.Measurement, "of", until_killed)
    with pytest.raises(KeyboardInterrupt):
        dry_run(tmp_path, "fp32", "bf16", "--batches", "1", "2", "--dims", "2")
    kept = gpu_report.read_csv(tmp_path / "gpu_times.csv")
    assert {(row.dtype, row.batch) for row in kept} == {("bf16", 1), ("bf16", 2)}
    assert "bf16 step" in (tmp_path / "gpu_table.txt").read_text()
    assert dry_run(tmp_path, "fp32", "bf16", "--batches", "1", "2", "--dims", "2", "--resume") == 0
    assert measured[3:] == [("fp32", 1), ("fp32", 2)]
    assert gpu_report.read_csv(tmp_path / "gpu_times.csv")[: len(kept)] == kept


def test_roofline():
    peaks = Roofline(flops={"bf16": 1e15}, bytes=4e12, exponentials=3.7e12)
    wide = gpu_cases.Case(16384, 1, "bf16")
    # Bound by reading W: 2 bytes a weight; by making it: an exponential a weight.
    assert peaks.seconds(wide, "forward", weights_are_stored=True) == pytest.approx(2 * 16384**2 / 4e12, rel=1e-3)
    assert peaks.seconds(wide, "forward", weights_are_stored=False) == pytest.approx(16384**2 / 3.7e12)
    large = gpu_cases.Case(16384, 4096, "bf16")
    for stored in (True, False):
        assert peaks.seconds(large, "step", stored) == pytest.approx(6 * 4096 * 16384**2 / 1e15)


def test_keops_formula_is_that_of_the_layer():
    keops = pytest.importorskip("pykeops.torch")
    assert keops is not None
    layer = gpu_cases.KeopsLinear(12, 7)
    x = torch.randn(5, 12)
    torch.testing.assert_close(layer(x), layer.to_dense()(x))


def test_materialised_layer_is_the_layer():
    layer = gpu_cases.MaterialisedLinear(12, 7)
    x = torch.randn(5, 12)
    torch.testing.assert_close(layer(x), layer.to_dense()(x))


def test_plots_or_a_reason(tmp_path):
    rows = [gpu_report.Row(12, b, "fp32", None, "linear", "forward", speed_to_linear=1.0) for b in (1, 16)]
    reason = gpu_report.write_plots(rows, tmp_path)
    assert (tmp_path / "gpu_speed.png").exists() or "matplotlib is not installed" in reason
