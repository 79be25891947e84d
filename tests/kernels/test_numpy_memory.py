"""The NumPy kernels keep O(N + M) memory: a stored W would show."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pn_gpu.kernels import numpy as room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct
from support.oracle import random_case

MB = 2**20


def peak(function) -> tuple[int, object]:
    """Bytes allocated at the worst moment beyond those before, and the result; NumPy reports to tracemalloc."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    result = function()
    _, top = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return top - before, result


def beyond_results(case, potential: str) -> float:
    """Peak of forward and of backward, less what they return, in MB."""
    k = potentials.get(potential)
    worst = 0
    for function in (
        lambda: (room.forward(case.x, case.particles, case.bias, Direct(k))[0],),
        lambda: room.backward(case.dz, case.x, case.particles, Direct(k)),
    ):
        used, result = peak(function)
        worst = max(worst, used - sum(a.nbytes for a in result))
    return worst / MB


@pytest.mark.slow
def test_wide_layer_within_64_mb():
    case = random_case(64, 16384, 16384, dtype="float32")  # a stored W takes 1 GB
    assert beyond_results(case, "gaussian") <= 64


@pytest.mark.parametrize("potential", ["gaussian", "lorentzian", "exponential"])
def test_memory_grows_with_the_nodes_not_with_the_pairs(potential):
    beyond_results(random_case(8, 2048, 2048, dtype="float32"), potential)  # what threads keep from call to call
    small, large = (beyond_results(random_case(8, size, size, dtype="float32"), potential) for size in (4096, 8192))
    # Twice the nodes: at most twice the memory, and 5 % for objects; a stored W would take four times, and 256 MB.
    assert large <= 2.1 * small
    assert large <= 24


def test_a_large_batch_is_taken_in_pieces():
    case = random_case(20000, 16, 16, dtype="float32")
    assert beyond_results(case, "gaussian") <= 3 * case.x.nbytes / MB + 1


def test_results_own_their_memory():
    case = random_case(3, 40, 30)
    for a in (
        room.forward(case.x, case.particles, None, Direct(potentials.get("gaussian")))[0],
        *room.backward(case.dz, case.x, case.particles, Direct(potentials.get("gaussian"))),
    ):
        assert a.flags.c_contiguous
        assert a.flags.writeable
        assert not any(np.shares_memory(a, b) for b in case)
