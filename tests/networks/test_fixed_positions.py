"""Input positions that are given: they stay, they are saved, and nobody counts, moves or penalises them."""

import copy
import pickle

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu import storage
from pn_gpu.footprint import particle_footprint
from pn_gpu.model.counts import count_particle_parameters

RNG = np.random.default_rng(0)
PLACES = RNG.standard_normal((7, 2))
X, Y = RNG.standard_normal((40, 7)), RNG.integers(3, size=40)
OPTIONS = [{}, {"shared": False}, {"shared": False, "dipole_dim": 5}, {"model": "charge_phase"}]


def network(positions=PLACES, **options):
    options = {"backend": "numpy", "dtype": "float64", "seed": 0} | options
    return pn.ParticleNetwork([7, 5, 3], positions=positions, **options)


def fit(net, **options):
    return net.fit(X, Y, **({"epochs": 2, "batch_size": 10, "progress": False} | options))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_function_and_its_gradient_are_those_of_trained_positions(options):
    fixed = network(**options)
    free = network(None, dim=2, **options)
    free.particles[0].positions = PLACES
    for name in fixed.parameters:
        free.parameters[name] = fixed.parameters[name]
    np.testing.assert_array_equal(fixed.predict_proba(X), free.predict_proba(X))
    gradient, wanted = fixed.loss_and_gradient(X, Y)[1], free.loss_and_gradient(X, Y)[1]
    assert set(wanted) - set(gradient) == {"particles.0.positions"}
    for name in gradient:
        np.testing.assert_array_equal(gradient[name], wanted[name])
    with pytest.raises(AttributeError, match="no 'positions'"):
        _ = gradient.particles[0].positions


@pytest.mark.parametrize(
    "optimizer", [pn.Adam(0.05, weight_decay=0.1), pn.SGD(0.1, momentum=0.9), pn.RMSProp(), pn.Adagrad(), pn.Rprop()]
)
@pytest.mark.parametrize("options", OPTIONS[:2])
def test_training_leaves_them(optimizer, options):
    net = network(**options)
    before = net.parameters.flat.copy()
    penalties = [pn.L2(dipoles=0.1), pn.Repulsion(0.1, node_sets=[1])]
    fit(net, optimizer=optimizer, penalties=penalties, remove_mean_rotation=True)
    np.testing.assert_array_equal(net.particles[0].positions, PLACES)
    assert np.abs(net.parameters.flat - before).max() > 1e-3


def test_no_motion_of_all_particles_is_taken_out_of_the_gradient():
    """With places fixed, moving all others together changes the weights."""
    still, moving = network(), network()
    fit(still, optimizer=pn.SGD(0.1), remove_mean_translation=False)
    fit(moving, optimizer=pn.SGD(0.1), remove_mean_translation=True, remove_mean_rotation=True)
    np.testing.assert_array_equal(still.parameters.flat, moving.parameters.flat)
    free = network(None, dim=2)
    fit(free, optimizer=pn.SGD(0.1))
    assert np.abs(free.particles[1].positions - still.particles[1].positions).max() > 1e-3


@pytest.mark.parametrize("options", OPTIONS)
def test_counts_and_memory(options):
    net = network(**options)
    free = network(None, dim=2, **options)
    assert net.num_parameters == free.num_parameters - PLACES.size
    if not options:
        assert net.num_parameters == count_particle_parameters([7, 5, 3], 2, fixed_positions=True)
    assert "fixed, not counted: positions [7, 2]" in net.summary()
    make = {"dipole_dim": net.dipole_dim, "model": net.model.name, "shared": net.shared, "dtype": "float64"}
    footprint = particle_footprint([7, 5, 3], 2, fixed_positions=True, **make)
    trained = particle_footprint([7, 5, 3], 2, **make)
    assert footprint.num_parameters == net.num_parameters
    assert footprint.fixed == PLACES.size * 8 == trained.gradient - footprint.gradient
    assert trained.fixed == 0


@pytest.mark.parametrize("options", OPTIONS)
def test_files(tmp_path, options):
    net = network(**options)
    path = tmp_path / "net.safetensors"
    net.save(path)
    loaded = pn.load(path, backend="numpy")
    assert loaded.has_fixed_inputs
    np.testing.assert_array_equal(loaded.particles[0].positions, PLACES)
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    make = {"dipole_dim": net.dipole_dim, "model": net.model.name, "shared": net.shared, "dtype": "float64"}
    assert particle_footprint([7, 5, 3], 2, fixed_positions=True, **make).file == path.stat().st_size


def test_a_damaged_file_is_one_line(tmp_path):
    net, path = network(), tmp_path / "net.safetensors"
    for positions, word in ((PLACES[:5], "want [7, 2]"), (PLACES * np.nan, "want finite")):
        architecture = net.architecture() | {"positions": positions}
        storage.write_file(path, net.parameters.to_numpy(), net.metadata() | {"architecture": architecture})
        with pytest.raises(ValueError, match=r"net\.safetensors: positions: got") as caught:
            pn.load(path, backend="numpy")
        assert word in str(caught.value)


def test_a_run_is_resumed_with_the_same_places_only(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = network()
    fit(whole, epochs=4, optimizer=pn.Adam(0.01), seed=1)
    part = network()
    fit(part, epochs=2, optimizer=pn.Adam(0.01), seed=1, checkpoint=path)
    np.testing.assert_array_equal(pn.load(path, backend="numpy").particles[0].positions, PLACES)
    again = network()
    fit(again, epochs=4, optimizer=pn.Adam(0.01), seed=1, checkpoint=path, resume=True)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)
    with pytest.raises(ValueError, match=r"made with positions .*array \[7, 2\]") as caught:
        fit(network(PLACES + 1), epochs=4, optimizer=pn.Adam(0.01), seed=1, checkpoint=path, resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda n: n.copy(), copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_have_places_of_their_own(make):
    net = network()
    other = make(net)
    np.testing.assert_array_equal(other.particles[0].positions, PLACES)
    other.particles[0].positions = PLACES + 1
    np.testing.assert_array_equal(net.particles[0].positions, PLACES)
    np.testing.assert_array_equal(other.architecture()["positions"], PLACES + 1)
    assert net.to(dtype="float32").particles[0].positions.dtype == np.float32
    with pytest.raises(ValueError, match=r"particles\.0\.positions: got shape \(3, 2\), want \(7, 2\)"):
        other.particles[0].positions = PLACES[:3]


def test_given_places_are_copied():
    given = PLACES.copy()
    net = network(given)
    given[:] = 0
    np.testing.assert_array_equal(net.particles[0].positions, PLACES)


def test_torch_backend():
    torch = pytest.importorskip("torch")
    net = network(torch.from_numpy(PLACES), backend="torch:cpu")
    assert isinstance(net.particles[0].positions, torch.Tensor)
    fit(net)
    np.testing.assert_array_equal(net.to("numpy").particles[0].positions, PLACES)


def test_hidden_particles_are_removed_beside_them():
    narrow = pn.prune(network(shared=False, activation="relu"), 3)
    assert narrow.sizes == (7, 3, 3)
    np.testing.assert_array_equal(narrow.particles[0].positions, PLACES)


@pytest.mark.parametrize(
    ("positions", "options", "error", "message"),
    [
        (PLACES[:5], {}, ValueError, r"positions: got shape \[5, 2\], want \[7, n\]"),
        (PLACES, {"dim": 3}, ValueError, r"positions: got shape \[7, 2\], want \[7, 3\]"),
        (PLACES[:, 0], {}, ValueError, r"positions: got shape \[7\], want \[7, n\]"),
        (PLACES[:, :0], {}, ValueError, r"positions: got shape \[7, 0\], want \[7, n\]"),
        (np.where(PLACES > 1, np.nan, PLACES), {}, ValueError, r"positions: got \[.*\] for input 3, want finite"),
        (np.full((7, 2), np.inf), {}, ValueError, r"positions: got \[inf, inf\] for input 0, want finite"),
        ([[1, 2], [3]], {}, ValueError, "positions: got rows of different lengths"),
        (7, {}, TypeError, r"positions: got int, want an array \[7, n\]"),
        (PLACES + 1j, {}, TypeError, "positions: got dtype complex128, want real numbers"),
    ],
)
def test_bad_positions(positions, options, error, message):
    with pytest.raises(error, match=message):
        network(positions, **options)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (
            pn.Repulsion(0.1),
            r"Repulsion: got node set 0, whose positions are fixed; want Repulsion\(0.1, node",
        ),
        (pn.Repulsion(0.1, node_sets=[1, 0]), "Repulsion: got node set 0, whose positions are fixed"),
        (pn.Repulsion(0.1, node_sets=[3]), "Repulsion: got node set 3, want those of the network: 0 to 2"),
    ],
)
def test_penalties_on_what_is_fixed(penalty, message):
    with pytest.raises(ValueError, match=message):
        fit(network(), penalties=[penalty])
