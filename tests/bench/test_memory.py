"""The memory of networks measured beside the formula: in fresh processes, as a table and as a picture."""

import csv

import pytest

from bench import footprint, harness, memory
from bench.footprint import NOT_RUN, PHASES, Case, formula_bytes
from bench.harness import MB
from pn_gpu.footprint import dense_footprint, particle_footprint
from support.benches import parsed

SMALL = 0.08  # MB of arrays that are not in the formula: those of the loss, of the drawing of batches


def options(*arguments):
    return parsed(memory, "--widths", *arguments)


@pytest.mark.parametrize("case", [Case("dense", 0, 500, 16, "stored W"), Case("particle", 2, 700, 16, "direct")])
def test_peaks_of_fresh_processes_are_those_of_the_formula(one_thread, case):
    measured = footprint.measured_in_fresh_processes(case)
    for phase, formula in zip(PHASES, formula_bytes(case), strict=True):
        arrays, resident = measured[phase]
        assert arrays == pytest.approx(formula / MB, rel=0.06, abs=SMALL)
        # Pages that were free before show nothing; libraries and the tracing take some of their own.
        assert 0.5 * arrays < resident < 1.5 * arrays + 4


def test_the_formula_leaves_out_the_workspace_of_mehler():
    direct, mehler = (Case("particle", 2, 900, 16, method) for method in ("direct", "mehler"))
    whole = particle_footprint([900, 900], 2, batch_size=16)
    assert formula_bytes(direct) == (whole.training_peak, whole.inference_peak)
    training, inference = formula_bytes(mehler)
    num = whole.num_parameters
    assert training == 4 * (5 * num + 16 * 2 * 900 + 2 * 16 * 900)
    assert inference == 4 * (num + 2 * 16 * 900)
    assert (direct.covered, mehler.covered) == ("all", "without workspace")


def test_table_and_picture(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    for module in (harness, footprint):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    asked = []

    def measured(case):
        asked.append(case)
        return {phase: (value / MB, value / MB) for phase, value in zip(PHASES, formula_bytes(case), strict=True)}

    monkeypatch.setattr(footprint, "measured_in_fresh_processes", measured)
    bound = dense_footprint([300, 300], batch_size=16).training_peak / 1e9
    memory.run(options("30", "300", "900", "--direct-up-to", "300", "--most-gb", str(bound), "--save", "small"))
    # Just what the dense network of 300 takes is allowed: that of 900 is a formula alone.
    assert [case.width for case in asked if case.network == "dense"] == [30, 300]
    with (tmp_path / "small.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows if row["n"] == "2"] == ["direct", "mehler", "direct", "mehler", "mehler"]
    assert {row["formula_covers"] for row in rows if row["method"] == "mehler"} == {"without workspace"}
    assert {row["B"] for row in rows} == {"16"}
    unmeasured = [row for row in rows if row["measured"] == NOT_RUN]
    assert ("dense", "900") in {(row["network"], row["width"]) for row in unmeasured}
    for row in rows:
        assert float(row["training_formula_mb"]) > 0
        assert (row["training_mb"] == "") == (row in unmeasured)
        assert row["training_mb"] in ("", row["training_formula_mb"])
    assert (tmp_path / "small.png").stat().st_size > 10_000
    assert (tmp_path / "small.svg").stat().st_size > 10_000
    assert f"written: {tmp_path / 'small'}.png and .svg" in capsys.readouterr().out


def test_bad_widths():
    with pytest.raises(ValueError, match=r"--widths: got \[0\], want whole numbers from 1"):
        memory.run(options("0"))


def test_a_failing_process_says_what_failed():
    with pytest.raises(OSError, match=r"measuring training of Case.*method: got 'none'"):
        footprint.measured_in_fresh_processes(Case("particle", 2, 9, 2, "none"))
