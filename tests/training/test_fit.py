"""Training: learning, reproducing, stopping, and what does not fit."""

import io
import json
import sys

import numpy as np
import pytest

import pn_gpu as pn
from support.clusters import LABELS, X, fit, make


def test_learns_clusters():
    network = make()
    before = network.evaluate(X, LABELS)
    history = fit(network, epochs=30, optimizer=pn.Adam(lr=0.02), validation_data=(X[:50], LABELS[:50]))
    after = network.evaluate(X, LABELS)
    assert after["accuracy"] > 0.97
    assert after["loss"] < 0.5 * before["loss"]
    assert history.stop_reason == "finished"
    assert history.num_epochs == 30
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"}
    assert history["val_loss"][-1] == network.evaluate(X[:50], LABELS[:50])["loss"]
    assert history.last["lr"] == 0.02


def test_learns_a_regression():
    network = pn.ParticleNetwork([4, 16, 1], output="linear", activation="tanh", seed=0, backend="numpy")
    y = np.sin(X[:, 0]) - 0.5 * X[:, 1]
    history = network.fit(X, y, epochs=60, batch_size=40, seed=0)
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert "accuracy" not in history


def test_dense_network_runs_the_same_loop():
    network = pn.DenseNetwork([4, 8, 3], seed=0, backend="numpy")
    fit(network, epochs=20)
    assert network.evaluate(X, LABELS)["accuracy"] > 0.97


def test_one_seed_gives_one_run_bit_for_bit():
    networks = [make(dropout=0.2) for _ in range(3)]
    histories = [fit(network, seed=seed) for network, seed in zip(networks, (5, 5, 6), strict=True)]
    assert networks[0].parameters.flat.tobytes() == networks[1].parameters.flat.tobytes()
    assert histories[0]["loss"] == histories[1]["loss"]
    assert networks[0].parameters.flat.tobytes() != networks[2].parameters.flat.tobytes()


def test_without_shuffling_the_order_is_that_of_the_data():
    first, second = make(), make()
    fit(first, shuffle=False, seed=1)
    fit(second, shuffle=False, seed=2)
    np.testing.assert_array_equal(first.parameters.flat, second.parameters.flat)


def test_batches_from_an_iterable():
    pairs = [(X[start : start + 32], LABELS[start : start + 32]) for start in range(0, 240, 32)]
    one, other = make(), make()
    one.fit(pairs, epochs=3, seed=0)
    fit(other, epochs=3, shuffle=False)
    np.testing.assert_array_equal(one.parameters.flat, other.parameters.flat)


def test_batches_from_a_torch_loader():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(LABELS))
    network = make()
    network.fit(torch.utils.data.DataLoader(data, batch_size=40), epochs=20, seed=0)
    assert network.evaluate(X, LABELS)["accuracy"] > 0.9


def test_a_generator_serves_one_epoch():
    pairs = ((X[:50], LABELS[:50]) for _ in range(2))
    network = make()
    with pytest.raises(ValueError, match="a generator can be gone through only once"):
        network.fit(pairs, epochs=2, optimizer=pn.Adam(0.01))
    with pytest.raises(ValueError, match="x: got an iterable without a length"):
        network.fit(((X, LABELS) for _ in range(2)), optimizer=pn.Adam(pn.OneCycle(0.01)))


def test_early_stopping_restores_the_best_epoch():
    network = make()
    # Validation labels that are wrong: training makes their loss worse soon.
    stopper = pn.EarlyStopping("val_loss", patience=3)
    history = fit(network, epochs=40, callbacks=[stopper], validation_data=(X, (LABELS + 1) % 3))
    best = int(np.argmin(history["val_loss"]))
    assert history.num_epochs == best + 4 < 40
    assert history.stop_reason == "val_loss did not improve for 3 epochs"
    assert network.evaluate(X, (LABELS + 1) % 3)["loss"] == pytest.approx(history["val_loss"][best], rel=1e-6)


def test_functions_may_be_callbacks():
    seen = []

    def look(run):
        seen.append((run.epoch, run.history.last["loss"]))
        if run.epoch == 2:
            run.stop("seen enough")

    history = fit(make(), callbacks=[look])
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert history.stop_reason == "seen enough"


def test_a_diverging_loss_is_an_error_and_the_network_stays_usable():
    network = make(output="linear")
    with pytest.raises(pn.TrainingDiverged, match=r"loss became NaN or infinite in epoch \d+, step \d+, at a learning"):
        network.fit(X, np.eye(3)[LABELS], optimizer=pn.SGD(lr=1e30), epochs=5, seed=0)
    assert np.isfinite(network.evaluate(X, np.eye(3)[LABELS])["loss"])


def test_history_is_saved_as_json(tmp_path):
    history = fit(make(), epochs=2)
    history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text()) == history.metrics
    with pytest.raises(KeyError, match="history: got 'f1'"):
        _ = history["f1"]


def test_progress_bar(capsys):
    fit(make(), epochs=2, progress=True, validation_data=(X, LABELS))
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "val_accuracy=" in shown
    assert "16/16" in shown
    fit(make(), epochs=2, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs: got 0"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size: got 1.5"),
        ({"optimizer": "adam"}, TypeError, "optimizer: got 'adam', want an Optimizer"),
        ({"penalties": [0.1]}, TypeError, "penalties: got 0.1"),
        ({"callbacks": [3]}, TypeError, "callbacks: got 3"),
        ({"callbacks": [pn.EarlyStopping]}, TypeError, "callbacks: got <class"),
        ({"callbacks": [pn.EarlyStopping()]}, ValueError, "monitor: got 'val_loss', but fit has no validation_data"),
        ({"resume": True}, ValueError, "resume: got True without a checkpoint"),
        ({"validation_data": X}, TypeError, "validation_data: got ndarray, want a pair"),
        ({"validation_data": (X[:, :2], LABELS)}, ValueError, r"validation_data: x: got shape \(240, 2\)"),
        ({"validation_data": (X[:0], LABELS[:0])}, ValueError, "validation_data: x: got no examples"),
        ({"checkpoint": "/nowhere/at/all.safetensors"}, FileNotFoundError, "the folder /nowhere/at does not exist"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        fit(make(), **options)


def test_bad_data():
    with pytest.raises(ValueError, match="x: got no examples"):
        make().fit(X[:0], LABELS[:0])
    with pytest.raises(TypeError, match="y: got None with x of type ndarray"):
        make().fit(X)
    with pytest.raises(TypeError, match=r"x: got a batch of type ndarray, want \(x, y\) pairs"):
        make().fit([X, X], optimizer=pn.Adam(0.01))
    with pytest.raises(ValueError, match="monitor: got 'f1'"):
        pn.EarlyStopping("f1")


def test_history_is_a_mapping():
    history = fit(make(), epochs=3)
    assert dict(history) == {name: history[name] for name in history}
    assert len(history) == 4
    assert next(iter(history.values())) is history["loss"]
    assert history.get("val_loss") is None
    assert json.loads(json.dumps(history)) == history
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(history)
    assert frame.shape == (3, 4)
    assert frame["loss"].tolist() == history["loss"]


def test_one_callback_needs_no_list():
    seen = []
    fit(make(), callbacks=lambda run: seen.append(run.epoch), epochs=2)
    assert seen == [1, 2]
    history = fit(make(), callbacks=pn.EarlyStopping("loss", patience=1, min_delta=100.0))
    assert history.num_epochs == 2


def test_labels_in_a_column():
    column, flat = make(), make()
    column.fit(X, LABELS[:, None], epochs=2, validation_data=(X, LABELS[:, None]))
    flat.fit(X, LABELS, epochs=2)
    np.testing.assert_array_equal(column.parameters.flat, flat.parameters.flat)
    assert column.evaluate(X, LABELS[:, None]) == flat.evaluate(X, LABELS)


def test_numbers_beyond_float32_are_refused():
    large = X.astype(np.float64)
    large[3, 1] = 1e39
    with pytest.raises(ValueError, match=r"x: got 1e\+39 at \[3, 1\], too large for float32$"):
        make().fit(large, LABELS)
    assert np.isfinite(make(dtype="float64").evaluate(1e30 * X.astype(np.float64), LABELS)["accuracy"])
    regression = pn.ParticleNetwork([4, 3, 1], output="linear", seed=0, backend="numpy")
    with pytest.raises(ValueError, match=r"y: got 1e\+39 at \[3, 0\], too large for float32$"):
        regression.evaluate(X, large[:, 1])


@pytest.mark.parametrize("stream", ["none", "closed", "breaks"])
def test_nobody_reads_the_progress(stream, monkeypatch):
    class Pipe(io.StringIO):
        def write(self, text):
            if "epoch 1" in text:
                raise BrokenPipeError("nobody reads")
            return super().write(text)

    file = None if stream == "none" else Pipe()
    if stream == "closed":
        file.close()
    monkeypatch.setattr(sys, "stderr", file)
    assert fit(make(), epochs=3, progress=True).num_epochs == 3
    assert fit(make(), epochs=2, progress=None).num_epochs == 2
