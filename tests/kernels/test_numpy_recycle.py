"""Memory of dropped results: used again, but never while anything looks at it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pn_gpu.kernels.host import recycle
from pn_gpu.kernels.host.recycle import recycled

FLOAT = np.dtype(np.float32)
SHAPE = (100, 1000)


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    monkeypatch.setattr(recycle, "_waiting", {})


def address(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


def test_memory_is_used_again_in_another_shape_and_dtype() -> None:
    a = recycled(SHAPE, FLOAT)
    assert a.shape == SHAPE
    assert a.dtype == FLOAT
    assert a.flags.c_contiguous
    assert a.flags.writeable
    before = address(a)
    del a
    assert address(recycled((1000, 50), np.dtype(np.float64))) == before


@pytest.mark.parametrize("look", [lambda a: a[3:], lambda a: a.T.ravel(order="K"), lambda a: memoryview(a)])
def test_memory_that_is_looked_at_is_left_alone(look) -> None:
    a = recycled(SHAPE, FLOAT)
    a[:] = 7
    view = look(a)
    del a
    others = [recycled(SHAPE, FLOAT) for _ in range(3)]
    for other in others:
        other[:] = 1
    assert (np.asarray(view) == 7).all()


def test_memory_that_a_tensor_looks_at_is_left_alone() -> None:
    torch = pytest.importorskip("torch")
    a = recycled(SHAPE, FLOAT)
    a[:] = 7
    tensor = torch.from_numpy(a)
    del a
    recycled(SHAPE, FLOAT)[:] = 1
    assert (tensor == 7).all()


def test_two_at_once_are_two() -> None:
    a, b = recycled(SHAPE, FLOAT), recycled(SHAPE, FLOAT)
    assert not np.shares_memory(a, b)


@pytest.mark.parametrize("size", [0, 1, recycle.SMALLEST_BYTES // 4 - 1, recycle.LARGEST_BYTES // 4 + 1])
def test_very_small_and_very_large_arrays_are_ordinary(size: int) -> None:
    a = recycled((size,), FLOAT)
    assert a.flags.owndata
    del a
    assert not recycle._waiting


def test_little_waits() -> None:
    size = recycle.LARGEST_BYTES // 4
    count = 2 * recycle.MOST_WAITING_BYTES // recycle.LARGEST_BYTES
    arrays = [recycled((size - k,), FLOAT) for k in range(count)]
    del arrays
    waiting = sum(each * len(kept) for each, kept in recycle._waiting.items())
    assert 0 < waiting <= recycle.MOST_WAITING_BYTES


def test_many_threads() -> None:
    def work(mark: int) -> bool:
        same = True
        for _ in range(200):
            a = recycled(SHAPE, FLOAT)
            a[:] = mark
            b = recycled(SHAPE, FLOAT)
            b[:] = -1
            same &= bool((a == mark).all())
        return same

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
