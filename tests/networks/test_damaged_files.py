"""Damaged files of networks and checkpoints: the documented errors and nothing else, under a limit of memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu import storage

TESTS = Path(__file__).parents[1]


def test_damaged_files_raise_what_is_documented(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "support" / "fuzz_networks.py"), "150", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("make", [pn.ParticleNetwork, pn.DenseNetwork])
def test_a_small_file_of_a_large_network_is_refused_before_anything_is_built(make, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    network = make([3, 4, 2], seed=0, backend="numpy")
    architecture = network.architecture() | {"sizes": [3, 30_000_000, 2]}
    storage.write_file(path, network.parameters.to_numpy(), network.metadata() | {"architecture": architecture})

    def fail(*arguments, **options):
        raise AssertionError("built")

    monkeypatch.setattr(make, "_make_connections", fail)
    with pytest.raises(ValueError, match=r"net\.safetensors: .* has shape \(.*\), the architecture wants \(.*30000000"):
        pn.load(path, backend="numpy")


def test_arguments_are_not_blamed_on_the_file(tmp_path):
    path = tmp_path / "net.safetensors"
    pn.ParticleNetwork([3, 4, 2], seed=0, backend="numpy").save(path)
    with pytest.raises(ValueError, match=r"^backend: got 'nothing'"):
        pn.load(path, backend="nothing")
    with pytest.raises(ValueError, match=r"^dtype: got 'int8'"):
        pn.load(path, backend="numpy", dtype="int8")


def test_numbers_of_other_types_are_refused_with_the_name_of_the_file(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    path = tmp_path / "net.safetensors"
    network = pn.ParticleNetwork([3, 4, 2], seed=0, backend="numpy")
    tensors = {name: torch.tensor(np.asarray(value)).bfloat16() for name, value in network.parameters.items()}
    save_file(tensors, path, {storage.METADATA_KEY: storage.metadata_text(network.metadata())})
    with pytest.raises(ValueError, match=r"net\.safetensors: "):
        pn.load(path, backend="numpy")
