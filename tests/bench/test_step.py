"""The training step's rivals: right gradients, and a word about those that cannot run."""

import numpy as np
import pytest

from bench import rivals, step
from bench.__main__ import main as bench_main
from bench.layers import random_layer
from bench.rivals import GRADIENTS, Rival, stored_weight_gradients
from support import oracle
from support.benches import parsed

LAYER = random_layer(16, 40, 23, 3)
WANTED = oracle.backward(oracle.Case(*LAYER))


def options(*arguments):
    return parsed(step, "--nodes", "30", "--batch", "5", "--seconds", "0", "--rounds", "1", *arguments)


def largest_error(gradients):
    errors = [
        np.abs(np.asarray(got) - getattr(WANTED, name)).max() / np.abs(getattr(WANTED, name)).max()
        for name, got in gradients.items()
    ]
    return max(errors)


def test_the_reference_is_the_oracle():
    gradients = stored_weight_gradients(LAYER)
    assert tuple(gradients) == GRADIENTS == oracle.Gradients._fields
    assert largest_error(gradients) < 1e-12


@pytest.mark.parametrize("name", ["torch expanded", "torch cdist", "nn.Linear (stores W)"])
def test_rivals_compute_the_layer(name):
    pytest.importorskip("torch")
    gradients = rivals.rivals()[name].make(LAYER)()
    assert tuple(gradients) == (("dx", "dbias") if name.startswith("nn.Linear") else GRADIENTS)
    # float32; cdist takes the root of the squares, and autograd divides by it again.
    assert largest_error(gradients) < 2e-5


@pytest.mark.slow  # a minute of compiling at the first time, then KeOps keeps what it has compiled
def test_keops_computes_the_layer():
    pytest.importorskip("pykeops")
    rival = rivals.rivals()["keops"]
    if rival.missing:
        pytest.skip(rival.missing)
    gradients = rival.make(LAYER)()
    assert tuple(gradients) == GRADIENTS
    assert largest_error(gradients) < 2e-5


def test_what_is_not_installed_is_skipped_by_name(monkeypatch, capsys):
    monkeypatch.setattr(rivals, "is_installed", lambda package: package != "pykeops")
    step.run(options("--providers", "keops"))
    out = capsys.readouterr().out
    assert "skipped: keops: pykeops is not installed (pip install pykeops)" in out
    assert "nothing is left to compare with" in out


def test_without_torch_nothing_is_left(monkeypatch, capsys):
    monkeypatch.setattr(rivals, "is_installed", lambda package: package != "torch")
    step.run(options())
    out = capsys.readouterr().out
    for name in rivals.rivals():
        assert f"skipped: {name}: torch is not installed" in out
    assert "nothing is left to compare with" in out


def test_keops_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(rivals, "is_installed", lambda package: True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = rivals.rivals()
    assert "no no-such-compiler" in found["keops"].missing
    assert {name for name, rival in found.items() if rival.missing} == {"keops"}


def test_what_fails_is_skipped_with_its_reason(monkeypatch, capsys):
    def broken(layer):
        raise RuntimeError("error:\n  no such header")

    monkeypatch.setattr(step, "rivals", lambda compiled: {"keops": Rival(broken)})
    step.run(options())
    assert "skipped: keops: RuntimeError: error: no such header" in capsys.readouterr().out


def test_what_is_wrong_ends_the_comparison(monkeypatch):
    def wrong(layer):
        return lambda: {"dx": 1.01 * stored_weight_gradients(layer)["dx"]}

    monkeypatch.setattr(step, "rivals", lambda compiled: {"keops": Rival(wrong)})
    with pytest.raises(SystemExit, match=r"keops: wrong gradient dx, error 1\.0e-02"):
        step.run(options())


def test_our_own_failure_is_an_error(monkeypatch):
    def broken(layer, method):
        raise RuntimeError("ours")

    monkeypatch.setattr(step, "_our_step", broken)
    with pytest.raises(RuntimeError, match="ours"):
        step.run(options())


def test_chosen_providers_stand_beside_ours(capsys):
    pytest.importorskip("torch")
    step.run(options("--providers", "nn.Linear (stores W)"))
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if "pn_gpu" in line or "torch" in line or "nn.Linear" in line]
    assert [row.split()[0] for row in rows] == ["pn_gpu", "nn.Linear", "cpu"]
    assert "skipped" not in out


def test_bad_input(monkeypatch, capsys):
    for arguments, message in (
        (["--providers", "jax"], "--providers: got 'jax', want some of 'pn_gpu direct'"),
        (["--eager-only", "--providers", "torch cdist compiled"], "--providers: got 'torch cdist compiled'"),
        (["--rounds", "0"], "--rounds: got 0, want at least 1"),
    ):
        monkeypatch.setattr("sys.argv", ["bench", "step", "--nodes", "9", "--batch", "2", *arguments])
        assert bench_main() == 2
        assert message in capsys.readouterr().err
