"""Every gradient of the NumPy kernels against finite differences, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pn_gpu.kernels import numpy as room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct
from support import oracle
from support.oracle import random_case

STEP = 1e-5


@pytest.mark.parametrize("argument", ["x", "r_in", "v_in", "r_out", "v_out", "bias"])
@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
def test_against_central_differences(potential, argument):
    case = random_case(4, 6, 5, dim=2, d=3, seed=3)
    k = potentials.get(potential)
    gradient = getattr(room.backward(case.dz, case.x, case.particles, Direct(k)), "d" + argument)
    numerical = np.empty_like(gradient)
    for index in np.ndindex(gradient.shape):
        value = []
        for sign in (1, -1):
            moved = getattr(case, argument).copy()
            moved[index] += sign * STEP
            shifted = case._replace(**{argument: moved})
            value.append(np.vdot(shifted.dz, room.forward(shifted.x, shifted.particles, shifted.bias, Direct(k))[0]))
        numerical[index] = (value[0] - value[1]) / (2 * STEP)
    # Central differences err by STEP^2 times a third derivative, here of order 1 to 100 for the cusped potentials.
    np.testing.assert_allclose(gradient, numerical, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("potential", ["exponential", "triangle"])
def test_no_force_between_coincident_particles_under_a_cusp(potential):
    case = random_case(3, 1, 1)
    case.r_out[:] = case.r_in
    gradient = room.backward(case.dz, case.x, case.particles, Direct(potentials.get(potential)))
    assert not gradient.dr_in.any()
    assert not gradient.dr_out.any()
    assert gradient.dv_in.any()
