"""The benchmarks' layers have the data they say, and the step that is timed is the operator's."""

import numpy as np
import pytest

import pn_gpu as pn
from bench.harness import MB, traced_peak
from bench.layers import planned_step, random_layer, training_step
from bench.rivals import GRADIENTS, stored_weight_gradients
from support import oracle


def test_spreads_of_the_particles():
    layer = random_layer(2, 4000, 3000, 3, spread=1.5)
    # 9000 numbers or more: the standard deviation of a standard deviation is 0.8 %.
    assert [layer.r_in.std(), layer.r_out.std()] == pytest.approx([1.5, 1.5], rel=0.03)
    for dipoles in (layer.v_in, layer.v_out):
        np.testing.assert_allclose(np.linalg.norm(dipoles, axis=1), 1, rtol=1e-6)
    scaled = random_layer(2, 4000, 3000, 3, dipoles=0.25)
    assert [scaled.r_in.std(), scaled.v_in.std(), scaled.v_out.std()] == pytest.approx([0.5, 0.25, 0.25], rel=0.03)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtype(dtype):
    layer = random_layer(2, 5, 7, 3, dtype)
    assert [a.shape for a in layer] == [(2, 5), (5, 3), (5, 3), (7, 3), (7, 3), (7,), (2, 7)]
    assert {a.dtype.name for a in layer} == {dtype}


def test_a_wide_layer_takes_no_more_than_it_holds():
    width = 100_000
    peak = traced_peak(lambda: random_layer(4, width, width, 2, dipoles=0.5))
    assert peak < 0.1 * 4 * width * 4 / MB  # a tenth of x; a temporary of x in float64 would be twice x


@pytest.mark.parametrize("method", ["direct", "mehler"])
def test_the_step_computes_z_and_the_gradients(method):
    layer = random_layer(4, 300, 200, 2, "float64")
    z, gradient = training_step(layer, method, rtol=1e-6)
    assert z == pytest.approx(oracle.forward(oracle.Case(*layer)), rel=0, abs=1e-4 * np.abs(z).max())
    # The tolerance is that of the weights; gradients of positions err more.
    for name, want in stored_weight_gradients(layer).items():
        assert np.linalg.norm(getattr(gradient, name) - want) < 1e-4 * np.linalg.norm(want)


def test_the_planned_step_asks_its_planner_every_time():
    layer = random_layer(4, 30, 20, 2)
    planner = pn.MethodPlanner("direct")
    asked = []
    plan_of = planner.plan
    planner.plan = lambda *arguments: asked.append(arguments) or plan_of(*arguments)
    step = planned_step(layer, planner)
    step()
    gradients = step()
    assert [arguments[0] for arguments in asked] == [4, 4]
    assert tuple(gradients) == GRADIENTS
    np.testing.assert_array_equal(gradients["dr_out"], training_step(layer, "direct")[1].dr_out)
