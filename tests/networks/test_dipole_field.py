"""Dipoles of the inputs as a field: interpolated between few places, whose numbers alone are trained and counted."""

import copy
import pickle

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu import storage
from pn_gpu.backends import to_numpy
from pn_gpu.footprint import particle_footprint
from pn_gpu.model.counts import count_particle_parameters

RNG = np.random.default_rng(0)
POSITIONS, PLACES = pn.grid_positions((4, 5)), pn.grid_positions((2, 3))
X, Y = RNG.standard_normal((40, 20)), RNG.integers(3, size=40)
OPTIONS = [{}, {"shared": False}, {"shared": False, "dipole_dim": 5, "initialisation": "paper"}]


def network(places=PLACES, positions=POSITIONS, **options):
    options = {"backend": "numpy", "dtype": "float64", "seed": 0} | options
    return pn.ParticleNetwork([20, 5, 3], positions=positions, dipole_places=places, **options)


def fit(net, **options):
    return net.fit(X, Y, **({"epochs": 2, "batch_size": 10, "progress": False, "seed": 1} | options))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_function_is_that_of_the_interpolated_dipoles(options):
    net, free = network(**options), network(None, **options)
    matrix = pn.interpolation_matrix(PLACES, POSITIONS)
    free.particles[0].dipoles = matrix @ net.particles[0].dipole_values
    for name in set(free.parameters) & set(net.parameters):
        free.parameters[name] = net.parameters[name]
    np.testing.assert_allclose(net.dipoles(0), free.particles[0].dipoles, rtol=1e-12)
    np.testing.assert_allclose(net.predict_proba(X), free.predict_proba(X), rtol=1e-12)
    np.testing.assert_allclose(net.to_dense().predict_proba(X), free.predict_proba(X), rtol=1e-12)
    gradient, of_free = net.loss_and_gradient(X, Y)[1], free.loss_and_gradient(X, Y)[1]
    wanted = matrix.T @ of_free.particles[0].dipoles
    np.testing.assert_allclose(gradient.particles[0].dipole_values, wanted, rtol=1e-9, atol=1e-12 * abs(wanted).max())
    with pytest.raises(AttributeError, match=r"no 'dipoles'; it has .*dipole_values"):
        _ = net.particles[0].dipoles


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_against_finite_differences(options):
    net, step = network(activation="tanh", **options), 1e-5
    gradient, parameters = net.loss_and_gradient(X, Y)[1].flat, net.parameters.flat

    def loss(index, change):
        before = parameters[index]
        parameters[index] = before + change
        value = net.loss_and_gradient(X, Y)[0]
        parameters[index] = before
        return value

    slopes = [(loss(index, step) - loss(index, -step)) / (2 * step) for index in range(len(parameters))]
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-7 * abs(gradient).max())


@pytest.mark.parametrize("options", OPTIONS)
def test_counts_memory_and_files(tmp_path, options):
    net, path = network(**options), tmp_path / "net.safetensors"
    d = net.dipole_dim
    assert net.num_parameters == network(None, **options).num_parameters - (20 - 6) * d
    if not options:
        assert net.num_parameters == count_particle_parameters([20, 5, 3], 2, None, True, num_dipole_places=6)
    assert "20                           " in net.summary()
    assert f"dipole_values [6, {d}]; fixed, not counted: positions [20, 2], dipole_places [6, 2]" in net.summary()
    net.save(path)
    make = {"dipole_dim": d, "shared": net.shared, "dtype": "float64"}
    footprint = particle_footprint([20, 5, 3], 2, fixed_positions=True, num_dipole_places=6, **make)
    assert footprint.num_parameters == net.num_parameters
    assert footprint.fixed == 8 * (20 * 2 + 6 * 2 + 20 * 6)
    assert footprint.file == path.stat().st_size
    loaded = pn.load(path, backend="numpy")
    assert loaded.has_dipole_field
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))


def test_single_precision_is_loaded_as_it_was_saved(tmp_path):
    net = network(dtype="float32", positions=POSITIONS + 0.1)
    net.save(tmp_path / "net.safetensors")
    loaded = pn.load(tmp_path / "net.safetensors", backend="numpy")
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))


@pytest.mark.parametrize("name", ["array_api_strict", "torch:cpu"])
def test_training_is_the_same_on_every_backend(name):
    pytest.importorskip(name.partition(":")[0])
    want, got = network(shared=False), network(shared=False, backend=name)
    for net in (want, got):
        fit(net, optimizer=pn.Adam(0.02), penalties=[pn.L2(dipoles=1e-3)], validation_data=(X[:10], Y[:10]))
    np.testing.assert_allclose(to_numpy(got.parameters.flat), want.parameters.flat, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got.to("numpy").predict_proba(X), want.predict_proba(X), rtol=1e-9)


def test_penalties_and_steps_know_its_numbers():
    net = network()
    gradient = net.parameters.to_numpy()["particles.0.dipole_values"]
    penalised, plain = (network() for _ in range(2))
    fit(penalised, epochs=20, optimizer=pn.SGD(0.01), penalties=[pn.L2(dipoles=10.0)])
    fit(plain, epochs=20, optimizer=pn.SGD(0.01))
    lengths = [np.linalg.norm(n.particles[0].dipole_values) for n in (penalised, plain)]
    assert lengths[0] < 0.2 * lengths[1]
    size = np.sqrt((gradient**2).sum(axis=1).mean())
    assert net.parameter_sizes()["particles.0.dipole_values"] == pytest.approx(size)


@pytest.mark.parametrize("places", [PLACES, pn.grid_positions((3, 4)), POSITIONS, np.zeros((1, 2))])
def test_it_starts_at_unit_length(places):
    lengths = [(network(places, seed=seed, dipole_dim=8).dipoles(0) ** 2).sum(axis=1).mean() for seed in range(30)]
    assert np.mean(lengths) == pytest.approx(1, rel=0.1)


def test_a_place_for_every_input_is_free_dipoles():
    net, free = network(POSITIONS, dipole_dim=3), network(None, dipole_dim=3)
    free.particles[0].dipoles = net.particles[0].dipole_values
    for name in net.parameters:
        if name in free.parameters:
            free.parameters[name] = net.parameters[name]
    # The interpolation smooths by 1e-9 of the field's own variance.
    np.testing.assert_allclose(net.predict_proba(X), free.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("make", [lambda n: n.copy(), copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_places_that_are_replaced_are_heeded(make):
    net = network()
    before = net.predict_proba(X)
    other = make(net)
    np.testing.assert_array_equal(other.predict_proba(X), before)
    other.particles[0].positions = POSITIONS[::-1].copy()
    matrix = pn.interpolation_matrix(PLACES, POSITIONS[::-1])
    np.testing.assert_allclose(other.dipoles(0), matrix @ other.particles[0].dipole_values, rtol=1e-12)
    np.testing.assert_array_equal(net.predict_proba(X), before)


def test_a_run_is_resumed_with_the_same_places_only(tmp_path):
    path = tmp_path / "run.safetensors"
    whole, part, again = (network() for _ in range(3))
    fit(whole, epochs=4, optimizer=pn.Adam(0.01))
    fit(part, epochs=2, optimizer=pn.Adam(0.01), checkpoint=path)
    fit(again, epochs=4, optimizer=pn.Adam(0.01), checkpoint=path, resume=True)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)
    with pytest.raises(ValueError, match=r"made with dipole_places .*array \[6, 2\]"):
        fit(network(PLACES + 1), epochs=4, optimizer=pn.Adam(0.01), checkpoint=path, resume=True)


def test_other_sensors_get_free_dipoles_from_the_field():
    net = network(shared=False)
    same = pn.with_inputs(net, POSITIONS)
    assert not same.has_dipole_field
    np.testing.assert_allclose(same.predict_proba(X), net.predict_proba(X), rtol=1e-4)
    fine = pn.with_inputs(net, pn.grid_positions((8, 10)))
    assert fine.sizes == (80, 5, 3)
    np.testing.assert_array_equal(fine.particles[1].dipoles, net.particles[1].dipoles)


def test_hidden_particles_are_removed_and_pictures_drawn():
    net = network(shared=False)
    narrow = pn.prune(net, 3)
    np.testing.assert_array_equal(narrow.dipoles(0), net.dipoles(0))
    pytest.importorskip("matplotlib")
    from pn_gpu import plot

    assert "(20)" in plot.particles(net).get_legend().get_texts()[0].get_text()


@pytest.mark.parametrize(
    ("places", "options", "error", "message"),
    [
        (PLACES, {"positions": None}, ValueError, "dipole_places: got some without positions"),
        (PLACES[:, :1], {}, ValueError, r"dipole_places: got shape \[6, 1\], want \[N, 2\]"),
        (PLACES[:0], {}, ValueError, r"dipole_places: got shape \[0, 2\]"),
        (PLACES * np.nan, {}, ValueError, "dipole_places: got .* want finite numbers"),
        (7, {}, TypeError, "dipole_places: got int"),
        (PLACES, {"model": "charge_phase"}, ValueError, "dipole_places: got some with the model 'charge_phase'"),
    ],
)
def test_bad_places(places, options, error, message):
    with pytest.raises(error, match=message):
        network(places, **options)


def test_bad_index_and_damaged_files(tmp_path):
    net, path = network(), tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match="index: got 3"):
        net.dipoles(3)
    architecture = net.architecture()
    for broken, message in (
        ({"dipole_places": PLACES[:4]}, r"particles\.0\.dipole_values has shape \(6, 2\)"),
        ({"dipole_places": PLACES + np.inf}, "dipole_places: got"),
        ({"dipole_places": 7}, "architecture cannot be read"),
    ):
        metadata = net.metadata() | {"architecture": architecture | broken}
        storage.write_file(path, net.parameters.to_numpy(), metadata)
        with pytest.raises(ValueError, match=rf"net\.safetensors: .*{message}"):
            pn.load(path, backend="numpy")
