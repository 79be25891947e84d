"""NaN, inf and the floating-point state of the caller in the NumPy kernels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pn_gpu.kernels import numpy as room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct
from support import oracle
from support.oracle import random_case

GAUSSIAN = potentials.get("gaussian")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("batch", [1, 5])
def test_bad_inputs_reach_z_as_in_a_dense_product(bad, dtype, batch):
    case = random_case(batch, 1300, 200, dtype=dtype)
    case.x[batch // 2, 1100] = bad
    z = room.forward(case.x, case.particles, None, Direct(GAUSSIAN))[0]
    with np.errstate(invalid="ignore"):
        dense = case.x @ oracle.weight(case).astype(dtype)
    np.testing.assert_array_equal(np.isnan(z), np.isnan(dense))
    np.testing.assert_array_equal(np.isposinf(z), np.isposinf(dense))
    np.testing.assert_array_equal(np.isneginf(z), np.isneginf(dense))
    assert not np.isfinite(z[batch // 2]).any()
    assert np.isfinite(np.delete(z, batch // 2, axis=0)).all()


@pytest.mark.parametrize("batch", [1, 5])
def test_nan_in_the_upstream_gradient(batch):
    case = random_case(batch, 40, 30)
    case.dz[0, 3] = np.nan
    gradient = room.backward(case.dz, case.x, case.particles, Direct(GAUSSIAN))
    assert np.isnan(gradient.dx[0]).all()
    assert np.isfinite(gradient.dx[1:]).all()
    assert np.isnan(gradient.dv_in).all()
    assert np.isnan(gradient.dr_out[3]).all()
    assert np.isfinite(np.delete(gradient.dr_out, 3, axis=0)).all()
    assert np.isnan(gradient.dbias[3])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_a_position_reaches_only_its_own_weights(bad):
    case = random_case(4, 40, 30)
    case.r_out[3] = bad
    z = room.forward(case.x, case.particles, None, Direct(potentials.get("lorentzian")))[0]
    others = np.delete(z, 3, axis=1)
    wanted = np.delete(oracle.forward(case._replace(bias=np.zeros(30)), "lorentzian"), 3, axis=1)
    np.testing.assert_allclose(others, wanted, rtol=1e-9, atol=1e-12)
    assert np.isnan(z[:, 3]).all() if np.isnan(bad) else not z[:, 3].any()


@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finite_input_raises_no_floating_point_error(dtype, potential):
    case = random_case(3, 700, 600, dtype=dtype, spread=3.0)  # far pairs underflow
    case.r_out[:300] += np.asarray(50, dtype)
    k = potentials.get(potential)
    with np.errstate(all="raise"):
        room.forward(case.x, case.particles, case.bias, Direct(k))[0]
        room.backward(case.dz, case.x, case.particles, Direct(k))
        assert set(np.geterr().values()) == {"raise"}


def test_nan_gives_no_warning():
    case = random_case(64, 700, 600, dtype="float32")
    case.x[0, 0] = np.nan
    case.x[1, 1] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        room.forward(case.x, case.particles, case.bias, Direct(GAUSSIAN))[0]
        room.backward(case.dz, case.x, case.particles, Direct(GAUSSIAN))
