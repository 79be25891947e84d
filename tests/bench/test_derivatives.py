"""The comparison of derivatives beyond the gradient, at a size that takes no time."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from bench import derivatives
from support.benches import parsed

# The first dual tensor's own.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(derivatives, "in_fresh_process", lambda function, *arguments: 1.0)
    derivatives.run(parsed(derivatives, "--nodes", "30", "--batch", "4", "--seconds", "0", "--rounds", "1", *arguments))


def test_every_provider_has_a_row(monkeypatch, capsys):
    run(monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    for derivative in ("H u", "jvp"):
        for provider in (derivatives.OURS, "torch expanded"):
            assert any(derivative in line and provider in line for line in lines)


def test_a_wrong_derivative_stops_the_comparison(monkeypatch):
    linear = derivatives.LINEAR[derivatives.OURS]
    monkeypatch.setitem(derivatives.LINEAR, derivatives.OURS, lambda *arguments: 1.01 * linear(*arguments))
    with pytest.raises(SystemExit, match="pn_gpu direct: wrong H u"):
        run(monkeypatch)
