"""Steps in proportion to the size of dipoles."""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.training.proportional_steps import RELATIVE_STEP, ProportionalSteps, step_scales

RNG = np.random.default_rng(6)
X, LABELS = RNG.random((60, 20)), RNG.integers(0, 4, 60)
TRAINING = {"epochs": 3, "batch_size": 16, "seed": 0, "progress": False}
OPTIMIZERS = [pn.Adam(0.02), pn.RMSProp(0.01), pn.SGD(0.05, momentum=0.9), pn.Adagrad(0.02), pn.Rprop(0.01)]


def network(**options):
    return pn.ParticleNetwork([20, 12, 4], dim=2, seed=0, backend="numpy", dtype="float64", **options)


def test_scales_are_powers_of_two_near_the_size():
    scales = step_scales({"a": 1.0, "b": 0.003}, num_layers=2)
    for name, size in {"a": 1.0, "b": 0.003}.items():
        assert np.log2(scales[name]) == round(np.log2(scales[name]))
        assert 2**-0.5 <= scales[name] / (RELATIVE_STEP / 2 * size) <= 2**0.5


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_training_does_not_see_how_size_is_shared_out(optimizer):
    """Dipoles four times as large on one side of each layer and a fourth on the other are the same network."""
    one, other = network(), network()
    one.calibrate(X)
    other.parameters.flat[:] = one.parameters.flat
    for index, factor in enumerate((4, 1 / 4, 4)):
        other.particles[index].dipoles = factor * other.particles[index].dipoles
    for net in (one, other):
        net.fit(X, LABELS, optimizer=optimizer, **TRAINING)
    if isinstance(optimizer, pn.SGD):
        rtol = 1e-9
    else:
        rtol = 1e-5  # the epsilon beside the root is not scaled
    np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X), rtol=rtol)


def test_the_papers_start_takes_plain_steps():
    net = network(initialisation="paper")
    _, gradient = net.loss_and_gradient(X, LABELS)
    want = net.parameters.flat - 0.1 * gradient.flat
    net.fit(
        X,
        LABELS,
        epochs=1,
        batch_size=60,
        shuffle=False,
        optimizer=pn.SGD(0.1),
        remove_mean_translation=False,
        progress=False,
    )
    np.testing.assert_allclose(net.parameters.flat, want, rtol=1e-12)


def test_scaled_steps_of_sgd():
    net = network()
    net.calibrate(X)
    _, gradient = net.loss_and_gradient(X, LABELS)
    before, scales = net.parameters.flat.copy(), step_scales(net.parameter_sizes(), 2)
    net.fit(X, LABELS, epochs=1, batch_size=60, shuffle=False, optimizer=pn.SGD(0.1), remove_mean_translation=False)
    factors = ProportionalSteps(net, scales)._factors
    np.testing.assert_allclose(net.parameters.flat, before - 0.1 * factors**2 * gradient.flat, rtol=1e-12)
    assert len(set(scales.values())) > 1


def test_resumed_runs_keep_the_sizes_of_their_start(tmp_path):
    straight = network()
    straight.fit(X, LABELS, optimizer=pn.Adam(0.05), **TRAINING)
    network().fit(X, LABELS, optimizer=pn.Adam(0.05), checkpoint=tmp_path / "run", **(TRAINING | {"epochs": 1}))
    resumed = network()
    resumed.fit(X, LABELS, optimizer=pn.Adam(0.05), checkpoint=tmp_path / "run", resume=True, **TRAINING)
    np.testing.assert_array_equal(resumed.parameters.flat, straight.parameters.flat)
