"""The NumPy kernels keep O(N + M) memory: a stored W would show."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.kernels import numpy as room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, Particles
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


def test_sets_take_the_memory_of_their_nodes():
    def beyond_results_of(num_sets):
        cases = [random_case(8, 4096, 4096, dtype="float32", seed=s) for s in range(num_sets)]
        x, dz, *particles = (np.stack(a) for a in zip(*((c.x, c.dz, *c.particles) for c in cases), strict=True))
        used, gradient = peak(lambda: pn.particle_linear_backward(dz, x, *Particles(*particles), method="direct"))
        return (used - sum(a.nbytes for a in gradient)) / MB, gradient

    beyond_results_of(2)  # what threads keep from call to call
    (few, _), (many, gradient) = beyond_results_of(2), beyond_results_of(6)
    results = sum(a.nbytes for a in gradient) / MB
    # Each set's own results before they are stacked, and what one set takes; a stored W would be 64 MB a set.
    assert many <= few + results
    assert many <= 24


def test_results_own_their_memory():
    case = random_case(3, 40, 30)
    for a in (
        room.forward(case.x, case.particles, None, Direct(potentials.get("gaussian")))[0],
        *room.backward(case.dz, case.x, case.particles, Direct(potentials.get("gaussian"))),
    ):
        assert a.flags.c_contiguous
        assert a.flags.writeable
        assert not any(np.shares_memory(a, b) for b in case)
