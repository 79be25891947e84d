"""Training: learning, reproducing, stopping, and what does not fit."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pn_gpu as pn

RNG = np.random.default_rng(2)
CENTRES = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]])
LABELS = RNG.integers(0, 3, 240)
X = (CENTRES[LABELS] + 0.4 * RNG.standard_normal((240, 4))).astype(np.float32)


def make(**options):
    return pn.ParticleNetwork([4, 8, 3], **({"seed": 0, "backend": "numpy"} | options))


def fit(network, **options):
    return network.fit(X, LABELS, **({"epochs": 6, "batch_size": 32, "seed": 1} | options))


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


def test_ctrl_c_ends_training_with_a_usable_network(tmp_path):
    class Interrupt(pn.Callback):
        def on_epoch_end(self, run):
            if run.epoch == 3:
                raise KeyboardInterrupt

    network, path = make(), tmp_path / "run.safetensors"
    history = fit(network, callbacks=[Interrupt()], checkpoint=path)
    assert history.stop_reason == "interrupted"
    assert history.num_epochs == 3
    assert np.isfinite(network.evaluate(X, LABELS)["loss"])
    assert pn.load(path, backend="numpy").num_parameters == network.num_parameters


def run_script(body, *arguments, **options):
    script = f"""
        import sys, os, signal, numpy as np, pn_gpu as pn
        rng = np.random.default_rng(2)
        y = rng.integers(0, 3, 240)
        X = rng.standard_normal((240, 4)).astype("f")
        net = pn.ParticleNetwork([4, 8, 3], seed=0, backend="numpy", dropout=0.1)
        path = sys.argv[1]
        options = dict(epochs=6, batch_size=32, seed=1, checkpoint=path, resume=True)
        {body}
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_resume_after_a_kill_continues_exactly(tmp_path):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    train = "net.fit(X, y, **options)"
    assert run_script(train, whole).returncode == 0
    kill = "net.fit(X, y, callbacks=[lambda run: run.epoch == 4 and os.kill(os.getpid(), signal.SIGKILL)], **options)"
    done = run_script(kill, cut)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # The callback came before the fourth epoch's checkpoint, so the file holds three epochs.
    done = run_script("net.fit(X, y, callbacks=[lambda run: print(run.epoch)], **options)", cut)
    assert done.stdout.split() == ["4", "5", "6"], done.stderr
    want, got = pn.load(whole, backend="numpy"), pn.load(cut, backend="numpy")
    assert want.parameters.flat.tobytes() == got.parameters.flat.tobytes()


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs POSIX signals")
def test_sigint_in_a_process(tmp_path):
    body = (
        "history = net.fit(X, y, callbacks=[lambda run: run.epoch == 2 and os.kill(os.getpid(), signal.SIGINT)],"
        " **options); print(history.stop_reason, np.isfinite(net.evaluate(X, y)['loss']))"
    )
    done = run_script(body, tmp_path / "run.safetensors")
    assert done.stdout.split() == ["interrupted", "True"], done.stderr


def test_resume_is_exact_with_early_stopping_and_a_schedule(tmp_path):
    options = {"epochs": 8, "optimizer": pn.RMSProp(pn.Cosine(0.01)), "validation_data": (X[:60], LABELS[:60])}
    whole = make()
    want = fit(whole, callbacks=[pn.EarlyStopping(patience=50)], **options)

    class Crash(pn.EarlyStopping):
        def on_train_end(self, run):
            if run.epoch < 8:
                raise RuntimeError("power cut")

    Crash.__name__ = "EarlyStopping"
    path, cut = tmp_path / "run.safetensors", make()

    def crash(epoch):
        stopper = Crash(patience=50)
        original = stopper.on_epoch_end

        def on_epoch_end(run):
            original(run)
            if run.epoch == epoch:
                raise MemoryError

        stopper.on_epoch_end = on_epoch_end
        return stopper

    with pytest.raises(RuntimeError, match="power cut"):
        fit(cut, callbacks=[crash(5)], checkpoint=path, **options)
    resumed = make(seed=99)
    got = fit(resumed, callbacks=[pn.EarlyStopping(patience=50)], checkpoint=path, resume=True, **options)
    assert got["loss"] == want["loss"]
    assert got["lr"] == want["lr"]
    assert resumed.parameters.flat.tobytes() == whole.parameters.flat.tobytes()
    again = fit(make(), callbacks=[pn.EarlyStopping(patience=50)], checkpoint=path, resume=True, **options)
    assert again["loss"] == want["loss"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 16}, "was made with batch_size 32, this run has 16"),
        ({"optimizer": pn.SGD(0.1)}, "was made with optimizer 'Adam"),
        ({"epochs": 7}, "was made with epochs 6, this run has 7"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(changed, message, tmp_path):
    path = tmp_path / "run.safetensors"
    fit(make(), checkpoint=path)
    with pytest.raises(ValueError, match=message):
        fit(make(), checkpoint=path, resume=True, **changed)
    with pytest.raises(ValueError, match="was made with dim 3, this run has 2"):
        fit(make(dim=2), checkpoint=path, resume=True)


def test_a_network_is_no_checkpoint(tmp_path):
    path = tmp_path / "net.safetensors"
    make().save(path)
    with pytest.raises(ValueError, match="holds a network but no training run"):
        fit(make(), checkpoint=path, resume=True)


def test_epochs_may_be_added_under_a_constant_rate(tmp_path):
    path = tmp_path / "run.safetensors"
    whole, parts = make(), make()
    fit(whole, optimizer=pn.Adam(0.01), epochs=5)
    fit(parts, optimizer=pn.Adam(0.01), epochs=3, checkpoint=path)
    history = fit(parts, optimizer=pn.Adam(0.01), epochs=5, checkpoint=path, resume=True)
    assert history.num_epochs == 5
    assert whole.parameters.flat.tobytes() == parts.parameters.flat.tobytes()


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
