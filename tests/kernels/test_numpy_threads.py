"""Threads of the NumPy kernels: repeatable results, whoever calls and whichever tile comes first."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pn_gpu.kernels import numpy as room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.host import threads
from pn_gpu.kernels.room import Direct
from support.oracle import random_case

backward_module = importlib.import_module("pn_gpu.kernels.numpy.backward")
ROOT = Path(__file__).parents[2]
GAUSSIAN = potentials.get("gaussian")
LARGE = random_case(64, 1500, 1100, dtype="float32")  # well above the work that goes to threads


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.setenv("PN_GPU_NUM_THREADS", "4")
    _forget()
    yield
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    threads.most_threads.cache_clear()
    threads._pool.cache_clear()


def compute(case=LARGE) -> list[np.ndarray]:
    return [
        room.forward(case.x, case.particles, case.bias, Direct(GAUSSIAN))[0],
        *room.backward(case.dz, case.x, case.particles, Direct(GAUSSIAN)),
    ]


def assert_equal(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bitwise_repeat(four_threads):
    first = compute()
    for _ in range(5):
        assert_equal(compute(), first)


def test_the_order_of_the_groups_does_not_matter(four_threads, monkeypatch):
    calm = compute()
    work = backward_module._pass_over_tiles

    def delayed(row_tiles, *rest):
        time.sleep(0.03 if row_tiles[0].start == 0 else 0.0)  # the first group ends last
        work(row_tiles, *rest)

    monkeypatch.setattr(backward_module, "_pass_over_tiles", delayed)
    assert_equal(compute(), calm)


def test_callers_in_several_threads_leave_blas_as_it_was(four_threads):
    libraries = threads._blas_libraries()
    before = [library.get_num_threads() for library in libraries]
    wanted = compute()
    with ThreadPoolExecutor(3) as callers:
        for result in callers.map(lambda _: compute(), range(6)):
            assert_equal(result, wanted)
    assert [library.get_num_threads() for library in libraries] == before


def test_an_error_in_a_task_reaches_the_caller_and_frees_blas(four_threads):
    libraries = threads._blas_libraries()
    before = [library.get_num_threads() for library in libraries]

    def fail(task: int) -> None:
        raise ArithmeticError(f"task {task}")

    with pytest.raises(ArithmeticError, match="task 0"):
        threads.parallel_map(fail, [0, 1], work=10**9)
    assert [library.get_num_threads() for library in libraries] == before


def test_small_layers_start_no_thread():
    script = (
        "import sys, threading; sys.path.insert(0, 'tests')\n"
        "from support.oracle import random_case; import pn_gpu as pn\n"
        "c = random_case(100, 784, 128, dtype='float32')\n"
        "pn.particle_linear_backward(c.dz, c.x, *c.particles)\n"
        "print(threading.active_count())"
    )
    assert _run(script).stdout.strip() == "1"


@pytest.mark.parametrize("setting", ["0", "-1", "two", " "])
def test_a_bad_thread_count_is_an_error(setting, monkeypatch):
    monkeypatch.setenv("PN_GPU_NUM_THREADS", setting)
    _forget()
    with pytest.raises(ValueError, match="PN_GPU_NUM_THREADS"):
        threads.num_threads()
    monkeypatch.undo()
    _forget()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_the_same():
    script = """
import os, sys
sys.path.insert(0, "tests")
import numpy as np
import pn_gpu as pn
from support.oracle import random_case

c = random_case(64, 1500, 1100, dtype="float32")
wanted = pn.particle_linear(c.x, *c.particles, c.bias)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(pn.particle_linear(c.x, *c.particles, c.bias), wanted) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert _run(script).stdout.strip() == "0"


def _run(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PN_GPU_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.mark.parametrize("length", [0, 1, 7, 511, 512, 513, 4096, 100_003])
@pytest.mark.parametrize("work", [0, 2**40])
def test_sizes_are_those_of_what_is_shared_out(four_threads, length, work):
    groups = threads.share_out(length, 512, work)
    largest = max((tile.stop - tile.start for group in groups for tile in group), default=0)
    assert threads.share_sizes(length, 512, work) == (largest, len(groups))
    assert sum(tile.stop - tile.start for group in groups for tile in group) == length


def test_an_empty_setting_is_none(monkeypatch):
    monkeypatch.setenv("PN_GPU_NUM_THREADS", "")
    _forget()
    assert threads.num_threads() >= 1
    _forget()
