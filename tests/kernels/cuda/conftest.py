"""What the tests of the CUDA kernels share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import cuda_shim


@pytest.fixture(scope="session")
def shim_folder(request: pytest.FixtureRequest) -> Path:
    """Where compiled kernels stay between runs; their names tell their sources."""
    reason = cuda_shim.missing()
    if reason:
        pytest.skip(reason)
    return request.config.cache.mkdir("cuda_shim")
