"""Grids: plain numbers, checked without any kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pn_gpu.kernels import potentials
from pn_gpu.kernels.cuda import launch, tiles
from pn_gpu.kernels.cuda.source import SUM_DTYPES
from pn_gpu.kernels.integers import ceil_div
from support.cuda_shim import RecordingRuntime

EXTENT = st.one_of(st.integers(1, 300), st.integers(1, 10**6))


@given(st.sampled_from(sorted(SUM_DTYPES)), EXTENT, EXTENT, EXTENT, st.integers(1, 200), st.integers(1, 50))
def test_forward_plan(dtype: str, batch: int, inputs: int, outputs: int, multiprocessors: int, sets: int) -> None:
    plan = tiles.plan_forward(dtype, batch, inputs, outputs, multiprocessors, sets)
    tiles_of_z = sets * ceil_div(batch, plan.tile.rows) * ceil_div(outputs, plan.tile.outputs)
    assert plan.blocks == tiles_of_z * plan.splits
    assert 1 <= plan.splits <= tiles.MAX_SPLITS
    # A split sum's workspace is bounded by the device, not by the layer.
    if plan.splits > 1:
        assert plan.blocks <= multiprocessors * plan.tile.resident
        assert plan.splits * plan.tile.depth <= inputs + plan.tile.depth


@given(st.sampled_from(sorted(SUM_DTYPES)), EXTENT, EXTENT, st.integers(1, 200), st.integers(1, 5000))
def test_gradient_plan(dtype: str, inputs: int, outputs: int, multiprocessors: int, sets: int) -> None:
    plan = tiles.plan_gradient(dtype, inputs, outputs, multiprocessors, sets)
    down, across = ceil_div(inputs, plan.tile.inputs), ceil_div(outputs, plan.tile.outputs)
    # Every tile belongs to a chunk, and no chunk is empty: it would leave its slab as it found it.
    assert (plan.chunks_down - 1) * plan.tiles_down < down <= plan.chunks_down * plan.tiles_down
    assert (plan.chunks_across - 1) * plan.tiles_across < across <= plan.chunks_across * plan.tiles_across
    assert max(plan.chunks_down, plan.chunks_across) <= tiles.MAX_SLABS


def test_plans_of_wide_layers_fill_the_device() -> None:
    for dtype in SUM_DTYPES:
        for batch in (1, 16, 100, 1024):
            plan = tiles.plan_forward(dtype, batch, 16384, 16384, 132)
            assert plan.blocks >= 132, (dtype, batch)
        assert tiles.plan_gradient(dtype, 16384, 16384, 132).blocks >= 264


def huge(rows: int, columns: int) -> np.ndarray:
    """A matrix in one number's memory whose rows claim to lie far apart."""
    one = np.zeros(1, np.float32)
    return np.lib.stride_tricks.as_strided(one, (rows, columns), (columns * 4, 4))


def test_more_elements_than_32_bits_count() -> None:
    batch, inputs, outputs = 3_000_000, 1000, 10
    runtime = RecordingRuntime()
    particles = [np.zeros(shape, np.float32) for shape in ((inputs, 2), (inputs, 2), (outputs, 2), (outputs, 2))]
    launch.forward(runtime, huge(batch, inputs), *particles, None, potentials.get("gaussian"))
    arguments = runtime.launches[0].arguments
    assert arguments[2] == inputs
    assert isinstance(arguments[2], np.int64)
    launch.backward(runtime, huge(batch, outputs), huge(batch, inputs), *particles, potentials.get("gaussian"))
    assert all(0 < step.blocks <= tiles.MAX_BLOCKS for step in runtime.launches)


def test_more_rows_than_an_index_counts() -> None:
    particles = [np.zeros((1, 1), np.float32)] * 4
    with pytest.raises(ValueError, match=r"B: got 2147483647, want at most"):
        launch.forward(RecordingRuntime(), huge(2**31 - 1, 1), *particles, None, potentials.get("gaussian"))
