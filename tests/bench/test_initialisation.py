"""The table of starts."""

import pytest

from bench import initialisation
from support.benches import parsed
from support.idx_files import write_mnist_like


def options(folder, *arguments):
    return parsed(initialisation, "--data", str(folder), "--epochs", "1", *arguments)


def test_every_start_and_rate_is_a_row(tmp_path, capsys):
    write_mnist_like(tmp_path, num_train=200, num_test=50)
    initialisation.run(options(tmp_path, "--only", "16-64-10", "--rates", "0.01", "0.02", "--seeds", "0", "7"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "topology 16-64-10" in line]
    assert len(lines) == len(set(lines)) == 8
    assert sum("start paper" in line for line in lines) == sum("seed 7" in line for line in lines) == 4
    with pytest.raises(ValueError, match="--only: got '16-3-10', want some of 16-10,"):
        initialisation.run(options(tmp_path, "--only", "16-3-10"))
