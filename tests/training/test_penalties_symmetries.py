"""What is added to a loss, what is taken out of a gradient, and dropout."""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.model.parameters import ParameterVector
from pn_gpu.training.dropout import dropout_masks
from pn_gpu.training.passes import batch_gradient
from pn_gpu.training.symmetries import connected_node_sets, remove_rotation, remove_translation
from support.differences import numerical_gradient

RNG = np.random.default_rng(3)
X = RNG.standard_normal((6, 5))
LABELS = np.array([0, 2, 1, 2, 0, 1])


def make(**options):
    return pn.ParticleNetwork([5, 4, 3], **({"seed": 1, "backend": "numpy", "dtype": "float64", "dim": 3} | options))


def random_gradient(network):
    return ParameterVector(network.parameters.layout, RNG.standard_normal(network.num_parameters))


@pytest.mark.parametrize(
    "penalty",
    [pn.L2(dipoles=0.3), pn.L2(biases=0.2, dipoles=0.1), pn.Repulsion(0.7)],
    ids=["dipoles", "both", "repulsion"],
)
@pytest.mark.parametrize("model", ["dipole", "charge_phase"])
def test_penalty_gradient(penalty, model):
    network = make(model=model)
    gradient = ParameterVector(network.parameters.layout, np.zeros(network.num_parameters))
    penalty.add(network, gradient)
    start = network.parameters.flat.copy()

    def value_at(flat):
        network.parameters.flat[:] = flat
        scratch = ParameterVector(network.parameters.layout, np.zeros(network.num_parameters))
        return float(penalty.add(network, scratch))

    np.testing.assert_allclose(gradient.flat, numerical_gradient(value_at, start), rtol=1e-6, atol=1e-9)


def test_l2_by_hand():
    network = make()
    scratch = random_gradient(network)
    want = 0.5 * 0.3 * sum((nodes.dipoles**2).sum() for nodes in network.particles)
    assert float(pn.L2(dipoles=0.3).add(network, scratch)) == pytest.approx(want)
    dense = pn.DenseNetwork([5, 3], backend="numpy", dtype="float64")
    want = 0.5 * 0.3 * (dense.layers[0].weight ** 2).sum()
    assert float(pn.L2(weights=0.3).add(dense, random_gradient(dense))) == pytest.approx(want)


def test_repulsion_by_hand():
    network = make()
    want = 0.0
    for nodes in network.particles:
        r = nodes.positions
        k = np.exp(-((r[:, None] - r[None]) ** 2).sum(-1))
        want += k[np.triu_indices(len(r), 1)].mean()
    assert float(pn.Repulsion(1.0).add(network, random_gradient(network))) == pytest.approx(want)
    single = pn.ParticleNetwork([1, 1], backend="numpy", output="linear")
    assert float(pn.Repulsion(1.0).add(single, random_gradient(single))) == 0


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_bad_strengths(bad):
    with pytest.raises(ValueError, match="dipoles: got"):
        pn.L2(dipoles=bad)
    with pytest.raises(ValueError, match="strength: got"):
        pn.Repulsion(bad)
    with pytest.raises(TypeError, match="strength: got '1'"):
        pn.Repulsion("1")


def test_connected_node_sets():
    assert connected_node_sets(make()) == [[0, 1, 2]]
    assert connected_node_sets(make(shared=False)) == [[0, 1], [2, 3]]
    assert connected_node_sets(pn.DenseNetwork([5, 3], backend="numpy")) == []


@pytest.mark.parametrize("options", [{}, {"shared": False}, {"model": "charge_phase"}], ids=str)
def test_translation_is_removed(options):
    network = make(**options)
    gradient = random_gradient(network)
    before = gradient.flat.copy()
    remove_translation(network, gradient)
    for sets in connected_node_sets(network):
        for name in ("positions", "phases"):
            parts = [gradient[f"particles.{index}.{name}"] for index in sets if f"particles.{index}.{name}" in gradient]
            if parts:
                np.testing.assert_allclose(np.concatenate(parts).mean(0), 0, atol=1e-15)
    np.testing.assert_array_equal(gradient.layers[0].bias, ParameterVector(gradient.layout, before).layers[0].bias)
    once = gradient.flat.copy()
    remove_translation(network, gradient)
    np.testing.assert_allclose(gradient.flat, once, atol=1e-15)


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_rotation_is_removed(dim):
    network = make(dim=dim)
    gradient = random_gradient(network)
    remove_rotation(network, gradient)
    r = np.concatenate([nodes.positions for nodes in network.particles])
    g = np.concatenate([nodes.positions for nodes in gradient.particles])
    r = r - r.mean(0)
    torque = g.T @ r - r.T @ g
    np.testing.assert_allclose(torque, 0, atol=1e-12)


def test_a_loss_has_neither_to_begin_with():
    """Weights do not change under either motion, so the loss's own gradient has no such part."""
    network = make()
    _, gradient = network.loss_and_gradient(X, LABELS)
    before = gradient.flat.copy()
    remove_translation(network, gradient)
    remove_rotation(network, gradient)
    np.testing.assert_allclose(gradient.flat, before, atol=1e-14)


def test_dropout_masks():
    network = make(dropout=0.25)
    hidden, last = dropout_masks(network, 20000, np.random.default_rng(0))
    assert last is None
    assert set(np.unique(hidden)) == {0.0, 1 / 0.75}
    assert hidden.mean() == pytest.approx(1, abs=0.02)
    assert dropout_masks(network, 5, None) == [None, None]
    assert dropout_masks(make(), 5, np.random.default_rng(0)) == [None, None]


def test_gradient_under_dropout():
    network = make(dropout=0.5, activation="tanh")
    one_hot = np.eye(3)[LABELS]
    masks = dropout_masks(network, len(X), np.random.default_rng(0))
    _, gradient, _ = batch_gradient(network, X, one_hot, masks=masks)
    start = network.parameters.flat.copy()

    def loss_at(flat):
        network.parameters.flat[:] = flat
        return float(batch_gradient(network, X, one_hot, masks=masks)[0])

    np.testing.assert_allclose(gradient.flat, numerical_gradient(loss_at, start), rtol=1e-6, atol=1e-8)
