"""Runs that are cut off, and go on."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pn_gpu as pn
from support.clusters import LABELS, X, fit, make


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
