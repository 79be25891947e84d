"""exp(-s) of tiles: right to the last digits where it counts, 0 far out, never in reach of subnormal numbers."""

import numpy as np
import pytest

from pn_gpu.kernels import potentials
from pn_gpu.kernels.host.gaussian import GaussianValues
from pn_gpu.kernels.mehler.arrays import Library
from pn_gpu.kernels.numpy.pairs import NodePairs
from pn_gpu.kernels.potentials.gaussian import farthest_square
from pn_gpu.kernels.room import Particles

DTYPES = ["float32", "float64"]


def tile_of(s, largest=np.nan):
    values = GaussianValues(s.dtype, largest)
    k = -values.unit * s
    values.exponentiate(k)
    return k


def root_of_tiny(dtype):
    return float(np.finfo(dtype).tiny) ** 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_values(dtype):
    farthest = farthest_square(float(np.finfo(dtype).tiny))
    s = np.linspace(0, 3 * farthest, 30_001).astype(dtype)
    exact = np.exp(-s.astype(np.float64))
    near, eps = s < farthest, np.finfo(dtype).eps
    error = np.abs(tile_of(s) - exact)
    # An exponent x carries its own rounding error of x / 2 units in the last place into the value.
    assert np.all(error[near] <= (2 + s[near]) * eps * exact[near] + 1.001 * root_of_tiny(dtype))
    assert not tile_of(s[~near]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_value_comes_near_underflow(dtype):
    s = np.random.default_rng(0).uniform(0, 4 * farthest_square(float(np.finfo(dtype).tiny)), 100_000).astype(dtype)
    k = np.abs(tile_of(s))
    assert k[k > 0].min() >= root_of_tiny(dtype) * np.finfo(dtype).eps / 2


def test_nothing_is_taken_off_where_all_are_near():
    s = np.float32([0, 1, 40])
    np.testing.assert_array_equal(tile_of(s, largest=40), tile_of(s, largest=43))
    assert tile_of(s, largest=40)[2] > tile_of(s, largest=44)[2]


def test_nan_and_infinity():
    k = tile_of(np.float32([np.nan, np.inf, 0]))
    assert np.isnan(k[0])
    assert k[1:].tolist() == [0, 1]


@pytest.mark.parametrize("radius", [5, 18, 80], ids=["expanded squares", "of float64", "differences"])
def test_tiles_of_wide_clouds(radius):
    rng = np.random.default_rng(1)
    r_in, v_in, r_out, v_out = (rng.normal(0, 1.5, (300, 2)).astype(np.float32) for _ in range(4))
    r_in[:5], r_out[:5] = -radius / 2 + 0.1 * v_in[:5], -radius / 2  # far out, but close together
    r_out[5] = radius, 0
    pairs = NodePairs(Particles(r_in, v_in, r_out, v_out), potentials.get("gaussian"))
    assert pairs.expanded == (radius < 24)
    k, scratch = np.empty((2, 300, 300), np.float32)
    everything = slice(0, 300)
    pairs.values(everything, everything, k, scratch)
    s = ((r_in.astype(np.float64)[:, None] - r_out) ** 2).sum(axis=2)
    assert (s > 50).any()
    np.testing.assert_allclose(k, np.exp(-s), rtol=2e-5, atol=1.1e-19)
    assert not k[s > 44].any()
    pairs.derivatives(everything, everything, scratch, np.empty_like(k))
    np.testing.assert_array_equal(scratch, -k)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_weights_of_the_mehler_method(dtype):
    s = np.linspace(0, 1000, 5001).astype(dtype)
    k = Library(s, s).gaussian(s.copy())
    np.testing.assert_allclose(k, np.exp(-s.astype(np.float64)), rtol=2e-5, atol=1.1e-19)
    assert k[k > 0].min() >= root_of_tiny(dtype) * np.finfo(dtype).eps / 2
