"""Networks on disk."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import pn_gpu as pn
from pn_gpu import storage
from pn_gpu.files import replacing

X = np.random.default_rng(0).standard_normal((5, 4))

NETWORKS = {
    "plain": lambda: pn.ParticleNetwork([4, 3, 2], seed=1, backend="numpy"),
    "double": lambda: pn.ParticleNetwork([4, 3, 2], seed=1, backend="numpy", dtype="float64"),
    "charge_phase": lambda: pn.ParticleNetwork(
        [4, 3, 2], dim=2, model="charge_phase", shared=False, potential="lorentzian", seed=1, backend="numpy"
    ),
    "regression": lambda: pn.ParticleNetwork(
        [4, 3, 3, 2], activation=["tanh", "gelu"], output="linear", loss="mae", dropout=0.1, seed=1, backend="numpy"
    ),
    "dense": lambda: pn.DenseNetwork([4, 3, 2], seed=1, backend="numpy"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip(name, tmp_path):
    network, path = NETWORKS[name](), tmp_path / "net.safetensors"
    network.save(path)
    back = pn.load(path, backend="numpy")
    assert type(back) is type(network)
    assert back.architecture() == network.architecture()
    assert back.dtype == network.dtype
    assert back.parameters.flat.tobytes() == network.parameters.flat.tobytes()
    np.testing.assert_array_equal(back.predict_proba(X), network.predict_proba(X))


def test_load_in_another_dtype(tmp_path):
    network, path = NETWORKS["plain"](), tmp_path / "net.safetensors"
    network.save(path)
    back = pn.load(path, backend="numpy", dtype="float64")
    assert back.parameters.flat.dtype == np.float64
    np.testing.assert_array_equal(back.parameters.flat, network.parameters.flat)


def test_other_readers_find_named_arrays(tmp_path):
    network, path = NETWORKS["plain"](), tmp_path / "net.safetensors"
    network.save(path)
    arrays = load_file(path)
    np.testing.assert_array_equal(arrays["particles.1.positions"], network.particles[1].positions)
    np.testing.assert_array_equal(arrays["layers.0.bias"], network.layers[0].bias)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net.safetensors"
    NETWORKS["plain"]().save(path)
    return path


def rewrite(path, drop=(), tensors=None, **metadata):
    arrays, old = storage.read_file(path)
    kept = {name: value for name, value in (arrays | (tensors or {})).items() if name not in drop}
    save_file(kept, path, {storage.METADATA_KEY: json.dumps(old | metadata)})


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"net\.safetensors: no such file"):
        pn.load(tmp_path / "net.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        pn.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_file(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[:keep])
    with pytest.raises(ValueError, match=r"net\.safetensors: no readable safetensors file"):
        pn.load(saved, backend="numpy")


def test_foreign_files(tmp_path, saved):
    other = tmp_path / "other.safetensors"
    save_file({"w": np.zeros(3)}, other)
    with pytest.raises(ValueError, match="a safetensors file without a pn_gpu network"):
        pn.load(other, backend="numpy")
    other.write_bytes(b"PK\x03\x04 this is a zip file, or so it says")
    with pytest.raises(ValueError, match="no readable safetensors file"):
        pn.load(other, backend="numpy")


def test_newer_file(saved):
    rewrite(saved, format_version=2)
    with pytest.raises(ValueError, match="written in format version 2 by a newer pn_gpu; this one reads up to 1"):
        pn.load(saved, backend="numpy")


@pytest.mark.parametrize("text", ["{", "[]", '{"format_version": "soon"}', "{}"])
def test_damaged_metadata(saved, text):
    save_file(load_file(saved), saved, {storage.METADATA_KEY: text})
    with pytest.raises(ValueError, match="its metadata cannot be read"):
        pn.load(saved, backend="numpy")


def test_damaged_contents(saved):
    content = saved.read_bytes()
    rewrite(saved, drop=["layers.1.bias"])
    with pytest.raises(ValueError, match=r"the parameter layers\.1\.bias is missing"):
        pn.load(saved, backend="numpy")
    saved.write_bytes(content)
    rewrite(saved, tensors={"layers.1.bias": np.zeros(7, np.float32)})
    with pytest.raises(ValueError, match=r"layers\.1\.bias has shape \(7,\), the architecture wants \(2,\)"):
        pn.load(saved, backend="numpy")
    saved.write_bytes(content)
    rewrite(saved, architecture={"sizes": [4, 2], "colour": "red"})
    with pytest.raises(ValueError, match=r"net.safetensors: the architecture cannot be read \(.*'dim'"):
        pn.load(saved, backend="numpy")
    saved.write_bytes(content)
    rewrite(saved, architecture=NETWORKS["plain"]().architecture() | {"colour": "red"})
    with pytest.raises(ValueError, match=r"net.safetensors: the architecture cannot be read .*colour"):
        pn.load(saved, backend="numpy")
    rewrite(saved, kind="spiking")
    with pytest.raises(ValueError, match="kind 'spiking', want one of particle, dense"):
        pn.load(saved, backend="numpy")


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    write = Path.write_bytes

    def fail(path, content):
        write(path, content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*/net\.safetensors'") as caught:
        NETWORKS["dense"]().save(saved)
    assert caught.value.errno == errno.ENOSPC
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_replacing_gives_ordinary_permissions(tmp_path):
    ordinary, replaced = tmp_path / "a", tmp_path / "b"
    ordinary.write_text("x")
    with replacing(replaced) as temporary:
        temporary.write_text("x")
    assert replaced.stat().st_mode == ordinary.stat().st_mode
