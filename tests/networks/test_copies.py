"""Networks that are copied and pickled, what a seed settles, and the summary."""

import copy
import pickle

import numpy as np
import pytest

import pn_gpu as pn

RNG = np.random.default_rng(4)
X, LABELS = RNG.standard_normal((40, 4)), RNG.integers(0, 3, 40)

NETWORKS = {
    "particle": lambda **options: pn.ParticleNetwork([4, 6, 3], dropout=0.1, **options),
    "charge_phase": lambda **options: pn.ParticleNetwork([4, 6, 3], 2, model="charge_phase", shared=False, **options),
    "dense": lambda **options: pn.DenseNetwork([4, 6, 3], activation="gelu", **options),
}
COPIES = {
    "pickle": lambda network: pickle.loads(pickle.dumps(network)),
    "deepcopy": copy.deepcopy,
    "copy": lambda network: network.copy(),
}
BACKENDS = ["numpy", "torch:cpu"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_the_same_and_independent(name, way, backend):
    if backend != "numpy":
        pytest.importorskip("torch")
    network = NETWORKS[name](seed=1, backend=backend)
    network.fit(X, LABELS, epochs=1)
    other = COPIES[way](network)
    assert type(other) is type(network)
    assert other.architecture() == network.architecture()
    assert other.backend == network.backend
    before = network.predict_proba(X)
    np.testing.assert_array_equal(other.predict_proba(X), before)
    # The copy's particles are views of the copy's vector, and training goes on as the original's would.
    assert other.fit(X, LABELS, epochs=2)["loss"] == copy.deepcopy(network).fit(X, LABELS, epochs=2)["loss"]
    np.testing.assert_array_equal(network.predict_proba(X), before)
    assert np.any(other.predict_proba(X) != before)


def test_the_seed_of_the_constructor_settles_training_too():
    networks = [NETWORKS["particle"](seed=seed, backend="numpy") for seed in (0, 0, 1)]
    histories = [network.fit(X, LABELS, epochs=3, batch_size=8) for network in networks]
    assert histories[0]["loss"] == histories[1]["loss"]
    assert networks[0].parameters.flat.tobytes() == networks[1].parameters.flat.tobytes()
    assert histories[0]["loss"] != histories[2]["loss"]
    again = [network.fit(X, LABELS, epochs=3, batch_size=8) for network in networks[:2]]
    assert again[0]["loss"] == again[1]["loss"]
    # A second run is in another order than the first.
    assert not np.array_equal(networks[0].next_generator().random(3), networks[0].next_generator().random(3))


def test_without_a_seed_every_network_is_another():
    one, other = (NETWORKS["particle"](backend="numpy") for _ in range(2))
    assert one.seed is None
    assert one.parameters.flat.tobytes() != other.parameters.flat.tobytes()
    other.parameters.flat[:] = one.parameters.flat
    assert one.fit(X, LABELS, epochs=1, batch_size=8)["loss"] != other.fit(X, LABELS, epochs=1, batch_size=8)["loss"]


def test_summary():
    network = pn.ParticleNetwork([784, 128, 10], dim=3, seed=0, backend="numpy")
    lines = [line.split("  ") for line in network.summary().splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == [repr(network)]
    assert cells[3] == ["particles[1]", "128", "768", "positions [128, 3], dipoles [128, 3]"]
    assert cells[5] == ["layers[0]", "784 to 128", "relu", "128", "bias [128]", "100,480"]
    assert cells[7] == ["in all", "5,670", "101,770"]
    assert cells[8] == ["A dense network of these widths has 17.9 times as many parameters."]
    assert "times as many" not in NETWORKS["dense"](seed=0, backend="numpy").summary()
    assert "phases [4]" in NETWORKS["charge_phase"](seed=0, backend="numpy").summary()
