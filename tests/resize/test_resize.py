"""Networks made narrower and wider: what is kept makes up for what is not, and a split changes nothing."""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.data import load
from pn_gpu.resize import grow, prune

MODELS = [
    {"activation": "leaky_relu"},
    {"activation": "relu", "model": "charge_phase"},
    {"activation": "tanh", "shared": False},
    {"activation": "relu", "shared": False, "model": "charge_phase"},
]


def network(sizes=(6, 12, 9, 3), **options):
    return pn.ParticleNetwork(sizes, seed=0, backend="numpy", dtype="float64", **({"dim": 2} | options))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((50, 6))


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("to", [13, 24, 31])
def test_split_particles_compute_the_same(options, level, to, x):
    old = network(**options)
    new = grow(old, to, x, level, distance=0)
    assert new.sizes[level] == to
    np.testing.assert_allclose(new.predict_proba(x), old.predict_proba(x), rtol=1e-10)
    assert old.sizes == (6, 12, 9, 3)


def test_the_change_shrinks_with_the_square_of_the_distance(x):
    old = network(activation="leaky_relu")
    near, far = (
        np.abs(grow(old, 20, x, distance=d).predict_proba(x) - old.predict_proba(x)).max() for d in (1e-3, 1e-2)
    )
    assert 0 < near < far / 50
    halves = grow(old, 24, x, distance=0.5).particles[1].positions
    assert np.abs(halves[0] - halves[1]).max() > 0.1


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("level", [1, 2])
def test_the_parts_of_split_particles_are_not_missed(options, level, x):
    """Silent particles go first: with their outgoing weights at 0 nothing changes."""
    old = network(**options)
    index = old.connections[level].input_set
    name = "positions"
    far = np.array(getattr(old.particles[index], name))
    far[::2] += 100.0  # so far that no weight of theirs is left
    setattr(old.particles[index], name, far)
    kept = len(far[1::2])
    new = prune(old, kept, x, level)
    assert new.sizes[level] == kept
    np.testing.assert_allclose(new.predict_proba(x), old.predict_proba(x), rtol=1e-10)


def test_constant_particles_go_into_the_bias(x):
    old = network((6, 8, 3), activation="relu", shared=False)
    r = np.array(old.particles[1].positions)
    r[:3] += 100.0  # their activation is phi(bias), whatever x is
    old.particles[1].positions = r
    old.layers[0].bias = np.full(8, 2.0)
    new = prune(old, 5, x)
    np.testing.assert_allclose(new.predict_proba(x), old.predict_proba(x), rtol=1e-10)
    assert np.abs(new.layers[1].bias - old.layers[1].bias).max() > 0.01


@pytest.mark.parametrize("rule", ["reconstruction", "influence"])
@pytest.mark.parametrize("options", [*MODELS, {"activation": "tanh"}])
def test_doubles_are_made_up_for(options, rule, x):
    """Every particle twice; without one of each the others contribute what both did, where they can."""
    old = network(**options)
    double = _twice(old)
    new = prune(double, 12, x, rule=rule)
    error, scale = (np.linalg.norm(z - double.predict_proba(x)) for z in (new.predict_proba(x), 0))
    if rule == "reconstruction" and options != {"activation": "tanh"}:
        assert error < 0.02 * scale
    else:
        assert 0.02 * scale < error < scale


def _twice(old):
    """Level 1 with every particle twice, and so with contributions that are double."""
    new = pn.ParticleNetwork(
        **(old.architecture() | {"sizes": [6, 24, 9, 3]}), seed=0, backend="numpy", dtype=old.dtype
    )
    for name in new.parameters:
        value = old.parameters[name]
        new.parameters[name] = value if new.parameters[name].shape == value.shape else np.concatenate([value, value])
    return new


@pytest.mark.parametrize("rule", ["merge", "auto"])
@pytest.mark.parametrize("shared", [True, False])
def test_merging_undoes_a_split(shared, rule, x):
    old = network(activation="leaky_relu", shared=shared)
    new = prune(grow(old, 30, x, distance=0.01), 12, rule=rule)
    assert new.sizes == old.sizes
    if shared:
        for name in old.parameters:
            np.testing.assert_allclose(new.parameters[name], old.parameters[name], rtol=1e-9)
    np.testing.assert_allclose(new.predict_proba(x), old.predict_proba(x), rtol=1e-4)


@pytest.mark.parametrize("options", [{"activation": "tanh"}, *MODELS[1:]])
def test_what_cannot_be_merged_goes_by_its_weights(options, x):
    """Without examples; far particles have no weights left."""
    old = network(**options)
    far = np.array(old.particles[old.connections[1].input_set].positions)
    far[::2] += 100.0
    old.particles[old.connections[1].input_set].positions = far
    np.testing.assert_allclose(prune(old, 6).predict_proba(x), old.predict_proba(x), rtol=1e-10)


@pytest.mark.parametrize("rule", ["reconstruction", "merge", "influence"])
def test_backends_agree(rule, x):
    pytest.importorskip("torch")
    old = network(activation="leaky_relu")
    with_torch = prune(old.to("torch:cpu"), 7, x, rule=rule)
    assert with_torch.backend.name.startswith("torch")
    np.testing.assert_allclose(with_torch.predict_proba(x), prune(old, 7, x, rule=rule).predict_proba(x), rtol=1e-9)


def test_a_trained_network_is_narrowed_and_learns_on():
    data, options = load("digits"), {"batch_size": 32, "progress": False}
    old = pn.ParticleNetwork([64, 64, 10], activation="leaky_relu", seed=0, backend="numpy")
    old.fit(data.x_train, data.y_train, epochs=12, optimizer=pn.Adam(pn.OneCycle(0.03)), **options)
    accuracy = old.evaluate(data.x_test, data.y_test)["accuracy"]
    half = prune(old, 0.5, data.x_train)
    assert half.sizes == (64, 32, 10)
    assert half.evaluate(data.x_test, data.y_test)["accuracy"] > accuracy - 0.03
    quarters = [
        prune(old, 0.25, data.x_train, rule=rule).evaluate(data.x_test, data.y_test)["accuracy"]
        for rule in ("influence", "merge", "reconstruction")
    ]
    assert quarters[0] < min(quarters[1:]) - 0.03
    half.fit(data.x_train, data.y_train, epochs=4, optimizer=pn.Adam(pn.OneCycle(0.02)), **options)
    assert half.evaluate(data.x_test, data.y_test)["accuracy"] > accuracy - 0.03


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: prune(net, 0), ValueError, "keep: got 0"),
        (lambda net: prune(net, 13), ValueError, "keep: got 13"),
        (lambda net: prune(net, 1.5), ValueError, "keep: got 1.5"),
        (lambda net: prune(net, 4, level=3), ValueError, "level: got 3"),
        (lambda net: prune(net, 4, np.ones((5, 7))), ValueError, r"x: got shape \(5, 7\)"),
        (lambda net: prune(net, 4, np.ones((0, 6))), ValueError, "x: got no examples"),
        (lambda net: prune(net, 4, np.ones((5, 6)), rule="magnitude"), ValueError, "rule: got 'magnitude'"),
        (lambda net: prune(net, 4, rule="reconstruction"), ValueError, "x: got None, want examples"),
        (lambda net: prune(network(activation="tanh"), 4, rule="merge"), ValueError, "rule: got 'merge'"),
        (lambda net: prune(net.to_dense(), 4), TypeError, "network: got DenseNetwork"),
        (lambda net: grow(net, 11), ValueError, "to: got 11"),
        (lambda net: grow(net, 20, distance=-1.0), ValueError, "distance: got -1.0"),
        (lambda net: grow(network(activation="tanh"), 20), ValueError, "network: got the activation 'tanh'"),
        (lambda net: prune(pn.ParticleNetwork([4, 2], seed=0), 1), ValueError, "want at least one hidden level"),
    ],
)
def test_bad_input_names_itself(call, error, message):
    with pytest.raises(error, match=message):
        call(network())
