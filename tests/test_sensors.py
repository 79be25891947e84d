"""Other sensors behind a trained network: the same ones change nothing, near ones little, and scale is kept."""

import numpy as np
import pytest

import pn_gpu as pn

RNG = np.random.default_rng(0)
GRID = pn.grid_positions((6, 6))


def network(positions=GRID, **options):
    options = {"shared": False, "dipole_dim": 4, "seed": 0, "backend": "numpy", "dtype": "float64"} | options
    return pn.ParticleNetwork([len(positions), 9, 3], positions=positions, **options)


def smooth(positions, count=20):
    """Readings [B, N] of fields that change little over the box."""
    waves = np.random.default_rng(1).standard_normal((count, 1, positions.shape[1]))
    return 1 + np.sin(0.5 * (waves * positions).sum(2))


def test_grids_fill_one_box():
    np.testing.assert_allclose(pn.grid_positions(4)[:, 0], [-1.5, -0.5, 0.5, 1.5])
    wide = pn.grid_positions((2, 4), half_width=1)
    np.testing.assert_allclose(wide[:5], [[-0.25, -0.75], [-0.25, -0.25], [-0.25, 0.25], [-0.25, 0.75], [0.25, -0.75]])
    for count in (3, 10):
        places = pn.grid_positions((count, count), half_width=2)
        np.testing.assert_allclose(places.max() + 2 / count, 2)
    for shape, message in ((0, "shape: got 0"), ((), "shape: got no axis")):
        with pytest.raises(ValueError, match=message):
            pn.grid_positions(shape)
    with pytest.raises(ValueError, match="half_width: got 0"):
        pn.grid_positions(3, half_width=0)


@pytest.mark.parametrize("method", ["kriging", "nearest"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_interpolation_keeps_constants_and_what_is_read(method, dim):
    sources, targets = RNG.standard_normal((15, dim)), RNG.standard_normal((40, dim))
    matrix = pn.interpolation_matrix(sources, np.concatenate([targets, sources[4:5]]), method)
    assert matrix.shape == (41, 15)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-9)
    np.testing.assert_allclose(matrix[-1], np.eye(15)[4], atol=1e-6)  # the nugget is 1e-9 of the extent
    far = pn.interpolation_matrix(1000 * sources, 1000 * targets, method)
    np.testing.assert_allclose(far, matrix[:-1], atol=1e-9)


def test_kriging_is_linear_in_one_dimension():
    matrix = pn.interpolation_matrix([[0.0], [1], [3]], [[-1.0], [0.25], [2], [9]])
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]], atol=1e-7)


def test_two_sensors_at_one_place_share():
    matrix = pn.interpolation_matrix([[0.0], [0.0], [1.0]], [[0.0], [0.5]])
    np.testing.assert_allclose(matrix, [[0.5, 0.5, 0], [0.25, 0.25, 0.5]], atol=1e-6)
    np.testing.assert_array_equal(pn.interpolation_matrix([[3.0]], [[0.0], [5.0]]), [[1], [1]])


@pytest.mark.parametrize("interpolation", ["kriging", "nearest"])
@pytest.mark.parametrize("options", [{}, {"shared": True}, {"potential": "lorentzian"}, {"dipole_dim": 1}])
def test_the_same_sensors_in_another_order_compute_the_same(interpolation, options):
    net, x = network(**options), RNG.random((20, 36))
    order = RNG.permutation(36)
    other = pn.with_inputs(net, GRID[order], interpolation)
    np.testing.assert_allclose(other.predict_proba(x[:, order]), net.predict_proba(x), rtol=1e-5)
    np.testing.assert_array_equal(other.particles[0].positions, GRID[order])
    assert other.has_fixed_inputs
    for name in net.parameters:
        if name != "particles.0.dipoles":
            np.testing.assert_array_equal(other.parameters[name], net.parameters[name])


@pytest.mark.parametrize("places", [pn.grid_positions((12, 12)), pn.grid_positions((5, 5)), GRID[::2]])
def test_smooth_fields_look_the_same_to_other_sensors(places):
    """Were the scale not kept, z would be off by 300, 31 and 50 %; dipoles drawn at random leave a few percent."""
    net = network()
    other = pn.with_inputs(net, places)
    z, want = (
        pn.particle_linear(smooth(n.particles[0].positions), *n.connections[0].particles(n.parameters))
        for n in (other, net)
    )
    assert np.linalg.norm(z - want) < 0.2 * np.linalg.norm(want)


def test_one_dipole_is_the_best_for_its_weights():
    """Nothing near the least squares solution has weights nearer to those that are wanted."""
    net, places = network(), GRID + 0.2 * RNG.standard_normal(GRID.shape)
    other = pn.with_inputs(net, places)
    wanted = pn.interpolation_matrix(places, GRID).T @ net.weight(0)

    def error():
        return ((other.weight(0) - wanted) ** 2).sum(axis=1)

    best, dipoles = error(), other.particles[0].dipoles.copy()
    for _ in range(20):
        other.particles[0].dipoles = dipoles + 0.05 * RNG.standard_normal(dipoles.shape)
        assert (error() > best).all()


def test_sensors_that_no_output_sees_are_harmless():
    places = np.concatenate([GRID, [[500.0, 0.0]]])
    other = pn.with_inputs(network(), places)
    assert np.isfinite(other.particles[0].dipoles).all()
    x = smooth(places)
    np.testing.assert_allclose(other.predict_proba(x), network().predict_proba(x[:, :36]), rtol=1e-3)


def test_the_result_is_saved_trained_and_exchanged_again(tmp_path):
    net = network(dtype="float32")
    coarse = pn.with_inputs(net, pn.grid_positions((4, 4)))
    coarse.save(tmp_path / "net.safetensors")
    loaded = pn.load(tmp_path / "net.safetensors", backend="numpy")
    x = RNG.random((30, 16)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict_proba(x), coarse.predict_proba(x))
    before = loaded.particles[0].dipoles.copy()
    loaded.fit(x, RNG.integers(3, size=30), epochs=1, progress=False)
    assert (loaded.particles[0].dipoles != before).any()
    assert pn.with_inputs(loaded, GRID).sizes == (36, 9, 3)
    assert net.sizes == (36, 9, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pn.with_inputs(pn.DenseNetwork([4, 2]), GRID), TypeError, "network: got DenseNetwork"),
        (lambda: pn.with_inputs(pn.ParticleNetwork([4, 2]), GRID), ValueError, "trains its input positions"),
        (lambda: pn.with_inputs(network(model="charge_phase", dipole_dim=2), GRID), ValueError, "model 'charge_phase'"),
        (lambda: pn.with_inputs(network(), GRID[:, :1]), ValueError, r"positions: got shape \[36, 1\], want \[N, 2\]"),
        (lambda: pn.with_inputs(network(), GRID[:0]), ValueError, r"positions: got shape \[0, 2\]"),
        (lambda: pn.with_inputs(network(), GRID * np.nan), ValueError, "for input 0, want finite numbers"),
        (lambda: pn.with_inputs(network(), GRID, "cubic"), ValueError, "interpolation: got 'cubic'"),
        (lambda: pn.interpolation_matrix(GRID, GRID[:, :1]), ValueError, r"targets: got shape \[36, 1\]"),
        (lambda: pn.interpolation_matrix(GRID * np.inf, GRID), ValueError, "sources: got"),
        (lambda: pn.interpolation_matrix(GRID, GRID, "cubic"), ValueError, "method: got 'cubic'"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
