"""Memory by formula against memory as measured."""

import tracemalloc

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.footprint import (
    OPTIMIZERS,
    UPDATE_TEMPORARIES,
    dense_footprint,
    get_optimizer,
    particle_footprint,
)
from pn_gpu.kernels.host import recycle, scratch
from pn_gpu.model.counts import count_dense_parameters, count_particle_parameters
from pn_gpu.model.shapes import dense_shapes, particle_shapes

SHAPES = ([784, 10], [784, 512, 10], [300, 900, 200, 20])


def traced_peak(action):
    """Bytes allocated at most at a time by ``action``, beyond what there was before it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def forget_memory():
    """Let the tiles that this thread keeps, and results that wait for another use, be allocated and measured anew."""
    vars(scratch._own).clear()
    recycle._waiting.clear()


def make(kind, sizes, **options):
    """A network and its footprint."""
    batch = options.pop("batch_size", 100)
    if kind == "dense":
        return pn.DenseNetwork(sizes, seed=0, backend="numpy"), dense_footprint(sizes, batch_size=batch, **options)
    network = pn.ParticleNetwork(sizes, dim=3, seed=0, backend="numpy", method="direct")
    return network, particle_footprint(sizes, 3, batch_size=batch, **options)


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_counts_are_those_of_the_paper(sizes, dim):
    assert particle_footprint(sizes, dim).num_parameters == count_particle_parameters(sizes, dim)
    assert dense_footprint(sizes).num_parameters == count_dense_parameters(sizes)


@pytest.mark.parametrize(("dim", "dipole_dim"), [(1, 8), (2, 4), (3, 2)])
def test_counts_with_dipoles_of_other_dimensions(dim, dipole_dim):
    sizes = [300, 900, 20]
    footprint = particle_footprint(sizes, dim, dipole_dim=dipole_dim)
    network = pn.ParticleNetwork(sizes, dim, dipole_dim=dipole_dim, seed=0, backend="numpy")
    assert footprint.num_parameters == count_particle_parameters(sizes, dim, dipole_dim) == network.num_parameters
    with pytest.raises(ValueError, match="dipole_dim: got 0"):
        particle_footprint(sizes, dim, dipole_dim=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("model", ["dipole", "charge_phase"])
def test_shapes_are_those_of_the_network(model, shared):
    network = pn.ParticleNetwork([7, 5, 4, 3], 3, model=model, shared=shared, seed=0, backend="numpy")
    layout = {name: slot.shape for name, slot in network.parameters.layout.slots.items()}
    assert particle_shapes([7, 5, 4, 3], 3, model, shared) == layout
    assert dense_shapes([7, 5]) == {"layers.0.weight": (7, 5), "layers.0.bias": (5,)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("model", ["dipole", "charge_phase", "dense"])
def test_the_file_has_the_size_to_the_byte(tmp_path, model, shared, dtype):
    for sizes in ([5, 3], [784, 512, 10], [40, 30, 20, 10]):
        if model == "dense":
            network = pn.DenseNetwork(sizes, seed=0, backend="numpy", dtype=dtype)
            footprint = dense_footprint(sizes, dtype=dtype)
        else:
            options = {"model": model, "shared": shared, "dtype": dtype}
            network = pn.ParticleNetwork(sizes, 3, seed=0, backend="numpy", **options)
            footprint = particle_footprint(sizes, 3, **options)
        path = tmp_path / "net.safetensors"
        network.save(path)
        assert path.stat().st_size == footprint.file
        assert network.parameters.flat.nbytes == footprint.parameters
        assert network.loss_and_gradient(np.ones((2, sizes[0])), [0, 1])[1].flat.nbytes == footprint.gradient_exchange


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_state_and_temporaries_of_an_optimiser(name):
    optimizer = get_optimizer(name)
    network, footprint = make("dense", [1000, 500], optimizer=name)
    parameters, gradient = network.parameters.flat, np.ones_like(network.parameters.flat)
    state = optimizer.start(parameters)
    assert sum(array.nbytes for array in state.values()) == footprint.optimizer_state
    peak = traced_peak(lambda: optimizer.update(parameters, gradient, state, 0.01, 0))
    assert peak == pytest.approx(footprint.update_workspace, rel=0.02)
    assert footprint.update_workspace == pytest.approx(
        UPDATE_TEMPORARIES[type(optimizer)] * parameters.nbytes, rel=1e-5
    )


@pytest.mark.parametrize("batch_size", [100, 500])
@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("kind", ["particle", "dense"])
def test_peaks_as_measured(one_thread, kind, sizes, batch_size):
    """Within 6 %: small arrays, such as softmax's and the drawing of batches, are not in the formula."""
    network, footprint = make(kind, sizes, batch_size=batch_size)
    rng = np.random.default_rng(0)
    x, y = rng.random((2 * batch_size, sizes[0]), np.float32), rng.integers(0, sizes[-1], 2 * batch_size)

    def train():
        network.fit(x, y, epochs=1, batch_size=batch_size, optimizer=pn.Adam(0.001), progress=False, seed=0)

    train()  # once before, so that imports and caches are not measured
    forget_memory()
    training = footprint.parameters + traced_peak(train)
    forget_memory()
    inference = footprint.parameters + traced_peak(lambda: network.predict_proba(x[:batch_size], batch_size))
    small = 50_000
    assert footprint.training_peak == pytest.approx(training, rel=0.06, abs=small)
    assert footprint.inference_peak == pytest.approx(inference, rel=0.06, abs=small)


def test_wide_layers_grow_with_nodes_alone():
    """Ten times the nodes: ten times the memory for particles, a hundred times for stored weights."""
    small, large = (particle_footprint([width, width], 2).parameters for width in (10**5, 10**6))
    assert large / small == pytest.approx(10, rel=0.01)
    small, large = (dense_footprint([width, width]).parameters for width in (10**5, 10**6))
    assert large / small == pytest.approx(100, rel=0.01)
    assert particle_footprint([10**6, 10**6], 3, batch_size=1).training_peak < 1e9 < dense_footprint([10**6] * 2).file


@pytest.mark.parametrize("width", [10**9, 10**12])
def test_any_size_can_be_asked_for(width):
    """By arithmetic: as much memory for a billion nodes as for ten."""
    small, large = (
        traced_peak(lambda size=size: particle_footprint([size, size, 10], 2, batch_size=100)) for size in (10, width)
    )
    assert large < small + 100_000
    assert dense_footprint([width, width]).num_parameters == width * (width + 1)


def test_bad_input():
    for arguments, error, message in (
        (([5],), ValueError, "sizes: got"),
        (([5, 0],), ValueError, r"sizes\[1\]: got 0"),
        (([5, 3], 0), ValueError, "dim: got 0"),
    ):
        with pytest.raises(error, match=message):
            particle_footprint(*arguments)
    for options, error, message in (
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"optimizer": "lion"}, ValueError, "optimizer: got 'lion', want one of adam"),
        ({"model": "spin"}, ValueError, "model: got 'spin'"),
        ({"shared": 1}, TypeError, "shared: got 1"),
        ({"dtype": "int8"}, ValueError, "dtype: got 'int8'"),
    ):
        with pytest.raises(error, match=message):
            particle_footprint([5, 3], **options)
