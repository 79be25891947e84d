"""Fixtures that several test modules share."""

import pytest

from pn_gpu.kernels.host.threads import most_threads


@pytest.fixture
def one_thread(monkeypatch):
    """How many threads hold a tile at the same moment is chance; one always does."""
    monkeypatch.setenv("PN_GPU_NUM_THREADS", "1")
    most_threads.cache_clear()
    yield
    most_threads.cache_clear()
