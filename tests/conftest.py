"""Fixtures that several test modules share."""

import pytest

from pn_gpu.kernels.numpy.threads import num_threads


@pytest.fixture
def one_thread(monkeypatch):
    """How many threads hold a tile at the same moment is chance; one always does."""
    monkeypatch.setenv("PN_GPU_NUM_THREADS", "1")
    num_threads.cache_clear()
    yield
    num_threads.cache_clear()
