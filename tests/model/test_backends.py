"""One network on every array library that is there; array_api_strict keeps the code to the standard."""

import sys

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu import backends
from pn_gpu.backends import describe_backends, get_backend, to_numpy

RNG = np.random.default_rng(5)
X = RNG.standard_normal((40, 6))
LABELS = RNG.integers(0, 3, 40)


@pytest.fixture(params=["array_api_strict", "torch:cpu"])
def backend(request):
    pytest.importorskip(request.param.partition(":")[0])
    return request.param


OPTIONS = {
    "plain": {},
    "charge_phase": {"model": "charge_phase", "shared": False, "activation": "gelu"},
    "regression": {"output": "linear", "loss": "mae", "activation": "elu"},
    "binary": {"output": "sigmoid", "activation": ["leaky_relu"]},
    "dropout": {"dropout": 0.3, "activation": "softplus"},
    "softmax then mse": {"loss": "mse", "activation": "sigmoid"},
}

OPTIMIZERS = {
    "plain": pn.Adam(pn.OneCycle(0.05), weight_decay=0.01),
    "charge_phase": pn.RMSProp(0.005),
    "regression": pn.SGD(pn.Cosine(0.05, warmup=0.1), momentum=0.9, nesterov=True),
    "binary": pn.Adagrad(0.05),
    "dropout": pn.SGD(0.05),
    "softmax then mse": pn.Adam(0.01),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_training_is_the_same_as_on_numpy(name, backend):
    options = OPTIONS[name]
    y = LABELS if options.get("output", "softmax") == "softmax" else np.eye(3)[LABELS]
    networks = []
    for where in ("numpy", backend):
        network = pn.ParticleNetwork([6, 5, 3], dim=2, seed=1, backend=where, dtype="float64", **options)
        history = network.fit(
            X,
            y,
            epochs=3,
            batch_size=16,
            seed=2,
            optimizer=OPTIMIZERS[name],
            validation_data=(X[:10], y[:10]),
            penalties=[pn.L2(dipoles=1e-3, biases=1e-3), pn.Repulsion(1e-2)],
            remove_mean_rotation=True,
        )
        networks.append((network, history))
    (want, want_history), (got, got_history) = networks
    np.testing.assert_allclose(to_numpy(got.parameters.flat), want.parameters.flat, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got_history["val_loss"], want_history["val_loss"], rtol=1e-9)
    np.testing.assert_allclose(got.predict_proba(X), want.predict_proba(X), rtol=1e-8, atol=1e-11)
    if got.is_classifier:
        np.testing.assert_array_equal(got.predict(X), want.predict(X))


def test_same_seed_same_network(backend):
    want = pn.ParticleNetwork([6, 5, 3], seed=9, backend="numpy")
    got = pn.ParticleNetwork([6, 5, 3], seed=9, backend=backend)
    np.testing.assert_array_equal(to_numpy(got.parameters.flat), want.parameters.flat)


def test_moving_and_saving(backend, tmp_path):
    network = pn.ParticleNetwork([6, 5, 3], seed=9, backend="numpy")
    moved = network.to(backend)
    assert moved.backend.name == backend
    np.testing.assert_allclose(moved.predict_proba(X), network.predict_proba(X), rtol=1e-5, atol=1e-7)
    moved.save(tmp_path / "net.safetensors")
    back = pn.load(tmp_path / "net.safetensors", backend="numpy")
    np.testing.assert_array_equal(back.parameters.flat, network.parameters.flat)
    dense = moved.to_dense()
    np.testing.assert_allclose(dense.predict_proba(X), network.predict_proba(X), rtol=1e-5, atol=1e-7)


def test_results_are_of_the_library_of_the_input():
    torch = pytest.importorskip("torch")
    network = pn.ParticleNetwork([6, 5, 3], seed=9, backend="numpy")
    x = torch.tensor(X, dtype=torch.float32)
    assert isinstance(network.predict(x), torch.Tensor)
    assert isinstance(network.to("torch:cpu").predict(X), np.ndarray)
    assert isinstance(network.to("torch:cpu").forward(x), torch.Tensor)


def test_float64_copy():
    network = pn.ParticleNetwork([6, 3], seed=9, backend="numpy")
    double = network.to(dtype="float64")
    assert double.parameters.flat.dtype == np.float64
    assert network.parameters.flat.dtype == np.float32


def test_automatic_backend_is_numpy_without_a_driver(monkeypatch):
    monkeypatch.setattr(backends, "cuda_driver_found", lambda: False)
    assert get_backend("auto").name == "numpy"


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"backend: torch cannot be imported .* pip install torch"):
        get_backend("torch")


def test_cupy_without_a_gpu_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"backend: the cupy backend needs CuPy, which cannot be imported .* install"):
        get_backend("cupy")
    with pytest.raises(ValueError, match="backend: got 'cupy:x', want cupy or cupy:INDEX"):
        get_backend("cupy:x")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cupy", "torch:cuda:0"])
def test_training_on_a_gpu_follows_the_cpu(name, tmp_path):
    pytest.importorskip(name.partition(":")[0])
    networks = []
    for where in ("numpy", name):
        try:
            network = pn.ParticleNetwork([6, 5, 3], dim=2, seed=1, backend=where, dtype="float64")
        except (ImportError, ValueError) as error:
            pytest.skip(str(error))
        network.fit(X, LABELS, epochs=3, batch_size=16, seed=2, checkpoint=tmp_path / "run")
        networks.append(network)
    want, got = networks
    np.testing.assert_allclose(to_numpy(got.parameters.flat), want.parameters.flat, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(got.to("numpy").parameters.flat, to_numpy(got.parameters.flat))
    np.testing.assert_allclose(pn.load(tmp_path / "run", backend=name).predict_proba(X), got.predict_proba(X))


def test_wrong_devices():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="want a torch device"):
        get_backend("torch:banana")
    with pytest.raises(ValueError, match="want torch:cpu or torch:cuda"):
        get_backend("torch:meta")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="finds no CUDA device"):
            get_backend("torch:cuda")


def test_report():
    report = describe_backends()
    assert report["numpy"].startswith(np.__version__)
    assert set(report) >= {"numpy", "torch", "cupy", "triton"}
    if "torch" in sys.modules:
        assert sys.modules["torch"].__version__ in report["torch"]
