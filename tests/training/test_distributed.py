"""Data-parallel training over two gloo processes on the CPU."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.training.distributed import TorchProcesses

distributed = pytest.importorskip("torch.distributed")

ROOT = Path(__file__).parents[2]
ARGUMENTS = ["train", "--epochs", "3", "--hidden", "8", "--backend", "numpy", "--dtype", "float64", "--quiet"]


def environment(**more):
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PN_GPU_NUM_THREADS": "1"} | more


def test_two_processes_train_the_same_network_as_one(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pn_gpu"]
    files = ["--output", "two", "--history", "two.json"]
    # 1442 examples in batches of 47: the last batch has 32 rows, and rows are split unevenly between two processes.
    options = [*ARGUMENTS, "--batch-size", "47"]
    two = subprocess.run(
        [*torchrun, *options, *files], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=180
    )
    assert two.returncode == 0, two.stderr
    # 918 parameters of 8 bytes travel; the dense network's 610 would be 4880.
    assert "processes 2; 7344 bytes of gradient a step, 4880 for the dense network" in two.stdout
    assert two.stdout.count("saved") == 1
    one = subprocess.run(
        [sys.executable, "-m", "pn_gpu", *options, "--output", "one", "--history", "one.json"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert one.returncode == 0
    want, got = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-9)
    np.testing.assert_allclose(got["accuracy"], want["accuracy"], rtol=1e-12)
    networks = [pn.load(tmp_path / name, backend="numpy") for name in ("one", "two")]
    np.testing.assert_allclose(networks[1].parameters.flat, networks[0].parameters.flat, rtol=1e-6, atol=1e-9)


def test_an_error_leaves_the_group(monkeypatch):
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "1", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)

    def fail():
        with TorchProcesses() as processes:
            assert (processes.rank, processes.size) == (0, 1)
            assert distributed.is_initialized()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not distributed.is_initialized()


def test_a_group_of_the_caller_stays_open(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        with TorchProcesses() as processes:
            np.testing.assert_array_equal(processes.sum(np.arange(3.0)), np.arange(3.0))
        assert distributed.is_initialized()
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_dead_peer_ends_the_run_with_an_error(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = str(probe.getsockname()[1])

    def start(rank):
        port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free, "WORLD_SIZE": "2", "RANK": str(rank)}
        return subprocess.Popen(
            [sys.executable, "-m", "pn_gpu", *ARGUMENTS, "--epochs", "100000", "--checkpoint", "run"],
            cwd=tmp_path,
            env=environment(**port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    leader, peer = start(0), start(1)
    try:
        deadline = time.monotonic() + 90
        while not (tmp_path / "run").exists():
            assert time.monotonic() < deadline, "training never got through its first epoch"
            assert leader.poll() is None, leader.communicate()[1]
            time.sleep(0.2)
        peer.send_signal(signal.SIGKILL)
        _, errors = leader.communicate(timeout=90)
    finally:
        for process in (leader, peer):
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
    assert leader.returncode == 2
    assert "a peer died or did not answer in time" in errors
    assert "Traceback" not in errors
    assert pn.load(tmp_path / "run", backend="numpy").sizes == (64, 8, 10)
