"""What a checkpoint keeps, refuses and survives."""

import errno
import warnings

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu import storage
from pn_gpu.training import loop

RNG = np.random.default_rng(2)
X = RNG.standard_normal((90, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 90)
WRONG = (X, (LABELS + 1) % 3)  # their loss gets worse while the network learns


def make(**options):
    return pn.ParticleNetwork([4, 8, 3], **({"seed": 0, "backend": "numpy"} | options))


def fit(network, path, x=X, y=LABELS, **options):
    return network.fit(x, y, **({"epochs": 4, "batch_size": 32, "checkpoint": path, "progress": False} | options))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


class Collector(pn.Callback):
    """Keeps a bit of everything."""

    def __init__(self, value):
        self.value = value

    def state(self):
        return {"value": self.value}

    def set_state(self, state):
        self.value = state["value"]


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (np.int64(3), 3),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.bool_(True), True),
        (np.str_("name"), "name"),
        (None, None),
        ((1, "two", 3.5), [1, "two", 3.5]),
        ({"inner": [np.int8(1), {"deep": True}]}, {"inner": [1, {"deep": True}]}),
        (float("inf"), float("inf")),
    ],
)
def test_plain_values_of_a_callback_come_back(value, back, path):
    fit(make(), path, callbacks=Collector(value))
    collector = Collector("other")
    fit(make(), path, resume=True, callbacks=collector)
    assert collector.value == back
    assert type(collector.value) is type(back)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(20)[::3],
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.broadcast_to(np.float32(2), (3, 2)),
        np.array(2.5),
        np.zeros((0, 3)),
        np.array([True, False]),
    ],
)
def test_arrays_of_a_callback_come_back(array, path):
    fit(make(), path, callbacks=Collector({"list": [array, 1], "array": array}))
    collector = Collector("other")
    fit(make(), path, resume=True, callbacks=collector)
    for got in (collector.value["array"], collector.value["list"][0]):
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"training\.callbacks\.0\.value: got object, want numbers, strings, None, arrays"),
        ({1: 2}, "value: got the key 1, want strings"),
        (np.array(["a"]), "value: got an array of dtype <U1"),
        (1j, "value: got complex"),
    ],
)
def test_what_cannot_be_kept_is_named(value, message, path):
    with pytest.raises(TypeError, match=message):
        fit(make(), path, callbacks=Collector(value))
    assert not list(path.parent.iterdir())


def test_forgetting_to_resume_does_not_overwrite_a_run(path):
    fit(make(), path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"run\.safetensors exists, .*; want resume=True to continue it"):
        fit(make(), path)
    assert path.read_bytes() == before


def test_a_checkpoint_that_cannot_be_written_is_noticed_before_training(tmp_path):
    network = make()
    before = network.parameters.flat.tobytes()
    with pytest.raises(FileNotFoundError, match=r"checkpoint: .* does not exist"):
        fit(network, tmp_path / "nowhere" / "run.safetensors")
    assert network.parameters.flat.tobytes() == before


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ({}, {"x": X + 1}, "it was made with other data"),
        ({}, {"y": (LABELS + 1) % 3}, "it was made with other data"),
        ({}, {"sample_weight": np.arange(90.0)}, "it was made with other data"),
        ({}, {"validation_data": WRONG}, "it was made with other validation data"),
        ({"dtype": "float64"}, {}, "it was made with dtype 'float32', this run has 'float64'"),
        ({"seed": 3}, {}, "it was made with seed 0, this run has 3"),
        ({}, {"seed": 5}, "it was made with seed 0, this run has 5"),
    ],
)
def test_another_run_is_refused(network, options, message, path):
    fit(make(), path)
    other = make(**network)
    before = other.parameters.flat.tobytes()
    with pytest.raises(ValueError, match=rf"checkpoint: .*run\.safetensors cannot be resumed: {message}"):
        fit(other, path, resume=True, **options)
    assert other.parameters.flat.tobytes() == before


def test_a_network_from_the_checkpoint_goes_on_without_naming_the_seed(path):
    optimizer = pn.Adam(0.01)
    whole = make()
    fit(whole, path.with_name("whole.safetensors"), optimizer=optimizer)
    fit(make(), path, epochs=2, optimizer=optimizer)
    network = pn.load(path, backend="numpy")
    fit(network, path, resume=True, optimizer=optimizer)
    assert network.parameters.flat.tobytes() == whole.parameters.flat.tobytes()


def test_early_stopping_of_another_monitor_is_refused(path):
    options = {"validation_data": (X, LABELS), "optimizer": pn.Adam(0.01)}
    fit(make(), path, callbacks=pn.EarlyStopping("val_loss"), **options)
    with pytest.raises(ValueError, match="EarlyStopping watched 'val_loss', and is to watch 'loss' now"):
        fit(make(), path, callbacks=pn.EarlyStopping("loss"), resume=True, epochs=6, **options)


def test_the_last_checkpoint_is_the_best_network_and_still_resumes(path):
    options = {"validation_data": WRONG, "optimizer": pn.Adam(0.01)}
    network = make()
    stopper = pn.EarlyStopping(patience=3)
    history = fit(network, path, epochs=30, callbacks=stopper, **options)
    assert history.num_epochs < 30
    loaded = pn.load(path, backend="numpy")
    assert loaded.parameters.flat.tobytes() == network.parameters.flat.tobytes()
    assert loaded.evaluate(*WRONG)["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-6)
    again = make()
    fit(again, path, epochs=30, resume=True, callbacks=pn.EarlyStopping(patience=3), **options)
    assert again.parameters.flat.tobytes() == network.parameters.flat.tobytes()


def test_more_epochs_go_on_from_the_last_parameters_not_the_best(path):
    options = {"validation_data": WRONG, "optimizer": pn.Adam(0.01)}
    whole, parts = make(), make()
    want = fit(whole, None, epochs=7, callbacks=pn.EarlyStopping(patience=50), **options)
    fit(parts, path, epochs=4, callbacks=pn.EarlyStopping(patience=50), **options)
    got = fit(make(), path, epochs=7, resume=True, callbacks=pn.EarlyStopping(patience=50), **options)
    assert got["loss"] == want["loss"]
    assert got["val_loss"] == want["val_loss"]


def test_a_full_disk_does_not_end_training(path, monkeypatch):
    network, undisturbed = make(), make()
    fit(undisturbed, None)
    save, calls = loop.save_checkpoint, []

    def fail_twice(run, *arguments):
        calls.append(run.epoch)
        if run.epoch in (2, 3):
            monkeypatch.setattr(storage.Path, "write_bytes", full)
        try:
            save(run, *arguments)
        finally:
            monkeypatch.undo()
            monkeypatch.setattr(loop, "save_checkpoint", fail_twice)

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "save_checkpoint", fail_twice)
    with pytest.warns(RuntimeWarning, match=r"checkpoint of epoch \d could not .*No space left.*run\.safe") as caught:
        fit(network, path)
    assert len(caught) == 2
    assert calls == [1, 2, 3, 4]
    assert network.parameters.flat.tobytes() == undisturbed.parameters.flat.tobytes()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with warnings.catch_warnings():
        assert fit(make(), path, resume=True).num_epochs == 4


def test_damaged_progress_is_refused_and_the_network_kept(path):
    fit(make(), path)
    tensors, metadata = storage.read_file(path)
    for change in (
        {"epoch": -1},
        {"epoch": "two"},
        {"history": {"loss": [1.0]}},
        {"history": []},
        {"random_state": {"bit_generator": "PCG64"}},
        {
            "random_state": {
                "bit_generator": "PCG64",
                "state": {"state": 10**60, "inc": 1},
                "has_uint32": 0,
                "uinteger": 0,
            }
        },
        {"callbacks": [{}]},
        {"stop_reason": 3},
    ):
        storage.write_file(path, tensors, metadata | {"training": metadata["training"] | change})
        network = make()
        before = network.parameters.flat.tobytes()
        with pytest.raises(ValueError, match=r"checkpoint: .*run\.safetensors cannot be resumed"):
            fit(network, path, resume=True)
        assert network.parameters.flat.tobytes() == before
    for name in ("optimizer.mean", "particles.0.positions"):
        for bad in ({}, {name: np.zeros(3, np.float32)}, {name: tensors[name].astype(np.float64)}):
            kept = {other: value for other, value in tensors.items() if other != name}
            storage.write_file(path, kept | bad, metadata)
            with pytest.raises(ValueError, match=rf"cannot be resumed: {name}"):
                fit(make(), path, resume=True)
