"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

from pn_gpu.kernels.host.threads import most_threads
from pn_gpu.planning import calibration

COSTS = Path(__file__).parent / "support" / "costs.json"


@pytest.fixture(autouse=True)
def fixed_costs(monkeypatch):
    """What "auto" takes does not depend on the machine of the tests; a wide layer of narrow particles is worth it."""
    monkeypatch.setenv("PN_GPU_COSTS", str(COSTS))
    monkeypatch.setattr(calibration, "_known", {})


@pytest.fixture
def one_thread(monkeypatch):
    """How many threads hold a tile at the same moment is chance; one always does."""
    monkeypatch.setenv("PN_GPU_NUM_THREADS", "1")
    most_threads.cache_clear()
    yield
    most_threads.cache_clear()
