"""The command line, in this process and in one of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.cli import main

ROOT = Path(__file__).parents[2]
QUICK = ["--epochs", "2", "--hidden", "8", "--backend", "numpy"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_process(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "pn_gpu", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


def fails(capsys, *arguments):
    """The one line of an error; the exit code must be 2."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("pn-gpu: error: ")
    return captured.err


def test_train_evaluate_predict(capsys, tmp_path):
    assert main(["train", *QUICK, "--history", "h.json", "--output", "net.safetensors"]) == 0
    out = capsys.readouterr().out
    assert "ParticleNetwork(64-8-10, 918 parameters" in out
    assert "918 parameters, no node set shared; a dense network of this shape has 610 (Eq. 6)" in out
    assert "epoch 2/2" in out
    history = json.loads(Path("h.json").read_text())
    assert len(history["val_accuracy"]) == 2

    assert main(["evaluate", "net.safetensors", "--backend", "numpy"]) == 0
    evaluated = capsys.readouterr().out
    assert f"loss {history['val_loss'][-1]:.4f}" in evaluated
    assert f"accuracy {100 * history['val_accuracy'][-1]:.2f} %" in evaluated

    from pn_gpu.data import load_digits

    x = load_digits().x_test[:7]
    np.save("x.npy", x)
    assert main(["predict", "net.safetensors", "--data", "x.npy", "--backend", "numpy"]) == 0
    network = pn.load("net.safetensors", backend="numpy")
    assert list(map(int, capsys.readouterr().out.split())) == network.predict(x).tolist()
    assert main(["predict", "net.safetensors", "--data", "x.npy", "--proba", "--output", "p.csv"]) == 0
    np.testing.assert_allclose(np.loadtxt("p.csv", delimiter=","), network.predict_proba(x), rtol=1e-6)


def test_the_main_job_has_no_options():
    done = run_process("train", "--epochs", "3")
    assert done.returncode == 0, done.stderr
    assert "saved     pn-digits.safetensors" in done.stdout
    assert done.stderr == ""
    assert pn.load("pn-digits.safetensors", backend="numpy").sizes == (64, 64, 10)


def test_models_and_recipes(capsys):
    for options in (
        ["--model", "dense"],
        ["--model", "charge-phase", "--unshared", "--dim", "2"],
        ["--recipe", "paper", "--potential", "lorentzian", "--dropout", "0.1", "--hidden", "6,5"],
        ["--hidden", "", "--early-stopping", "1", "--lr", "0.001", "--quiet"],
    ):
        assert main(["train", *QUICK, *options, "--output", "net.safetensors"]) == 0
        assert pn.load("net.safetensors", backend="numpy").sizes[0] == 64
    capsys.readouterr()


def test_pictures(capsys):
    pytest.importorskip("matplotlib")
    assert main(["train", *QUICK, "--epochs", "1", "--dim", "2", "--plot", "net.png", "--animate", "net.gif"]) == 0
    out = capsys.readouterr().out
    for name in ("net.png", "net.gif"):
        assert f"saved     {name} ({Path(name).stat().st_size} bytes)" in out
    assert "net.docx: want a file that ends in one of" in fails(capsys, "train", "--plot", "net.docx")
    assert "net.mp4: want a file that ends in .gif" in fails(capsys, "train", "--animate", "net.mp4")
    assert "want a ParticleNetwork" in fails(capsys, "train", *QUICK, "--model", "dense", "--animate", "net.gif")
    assert "the folder nowhere does not exist" in fails(capsys, "train", "--plot", "nowhere/net.png")


def test_training_is_reproducible(capsys):
    for name in ("a", "b"):
        main(["train", *QUICK, "--output", name])
    assert Path("a").read_bytes() == Path("b").read_bytes()
    capsys.readouterr()


def test_resume(capsys):
    arguments = ["train", *QUICK, "--checkpoint", "run.safetensors", "--resume", "--output", "net.safetensors"]
    assert main(arguments) == 0
    before = Path("net.safetensors").read_bytes()
    capsys.readouterr()
    assert main(arguments) == 0
    assert Path("net.safetensors").read_bytes() == before


def test_a_table_of_the_user(capsys):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3))
    rows = np.column_stack([x, x @ [1.0, -1.0, 0.5]])
    np.savetxt("table.csv", rows, delimiter=",", header="a,b,c,price", comments="")
    assert main(["train", *QUICK, "--data", "table.csv", "--target", "price"]) == 0
    out = capsys.readouterr().out
    assert "table" in out
    assert "accuracy" not in out
    network = pn.load("pn-table.safetensors", backend="numpy")
    assert network.loss.name == "mse"
    assert network.sizes == (3, 8, 1)


@pytest.mark.parametrize(
    ("arguments", "dims", "start"),
    [
        ([], (2, 8), "scaled"),  # ten classes
        (["--recipe", "paper"], (3, 3), "paper"),
        (["--dim", "2"], (2, 2), "scaled"),
        (["--dim", "1", "--dipole-dim", "6", "--initialisation", "paper"], (1, 6), "paper"),
        (["--dipole-dim", "5"], (3, 5), "scaled"),
        (["--model", "charge-phase"], (3, 2), "scaled"),
        (["--grid"], (2, 8), "scaled"),
        (["--grid", "64", "--dipole-dim", "3"], (1, 3), "scaled"),
    ],
)
def test_dimensions_and_start(arguments, dims, start, capsys):
    assert main(["train", *QUICK, "--epochs", "1", *arguments, "--output", "net.safetensors"]) == 0
    network = pn.load("net.safetensors", backend="numpy")
    assert (network.dim, network.dipole_dim, network.initialisation) == (*dims, start)
    out = capsys.readouterr().out
    assert f"positions in {dims[0]}, dipoles in {dims[1]} dimensions, {start} initialisation" in out


def test_inputs_at_known_places(capsys):
    assert main(["train", *QUICK, "--grid", "--dipole-grid", "4x4", "--output", "net.safetensors"]) == 0
    network = pn.load("net.safetensors", backend="numpy")
    np.testing.assert_allclose(network.particles[0].positions, pn.grid_positions((8, 8)), rtol=1e-6)
    np.testing.assert_allclose(network.particles[0].dipole_places, pn.grid_positions((4, 4)), rtol=1e-6)
    assert network.particles[0].dipole_values.shape == (16, 8)
    assert f"{network.num_parameters} parameters" in capsys.readouterr().out
    np.savetxt("table.csv", np.eye(20, 4), delimiter=",", header="a,b,c,d", comments="")
    for arguments, message in (
        (["--grid", "8x7"], "--grid: got 8x7, 56 places, for 64 inputs"),
        (["--grid", "--dim", "3"], "--dim: got 3 with a grid of 2 axes, want 2 or none"),
        (["--grid", "--model", "dense"], "--grid: got it with --model dense"),
        (["--dipole-grid", "4x4"], "--dipole-grid: got some without positions"),
        (["--grid", "--dipole-grid", "3x3x3"], "--dipole-grid: got shape [27, 3], want [N, 2]"),
        (["--data", "table.csv", "--grid"], "--grid: table holds no images"),
    ):
        assert message in fails(capsys, "train", *QUICK, *arguments)


def test_dimensions_for_few_outputs_and_for_many_examples(capsys):
    rng = np.random.default_rng(0)
    np.savez("number.npz", x=rng.standard_normal((40, 3)), y=rng.standard_normal(40))
    np.savez("large.npz", x=rng.standard_normal((13_000, 3)), y=np.arange(13_000) % 3)
    for name in ("number", "large"):
        assert main(["train", *QUICK, "--epochs", "1", "--data", f"{name}.npz"]) == 0
        assert "positions in 2, dipoles in 4 dimensions" in capsys.readouterr().out


def test_memory(capsys):
    assert main(["memory", "--sizes", "784,512,10", "--dim", "3", "--batch", "100", "--optimizer", "rmsprop"]) == 0
    out = capsys.readouterr().out
    rows = {line[:22].strip(): line[22:].split() for line in out.splitlines()[2:]}
    assert rows["parameters"] == ["8,358", "407,050", "48.7"]
    assert rows["optimiser state"] == rows["gradient exchange"] == ["33.4", "kB", "1.63", "MB", "48.7"]
    assert main(["memory", "--sizes", "1000000,1000000", "--dim", "2", "--model", "charge-phase", "--unshared"]) == 0
    assert "4 TB" in capsys.readouterr().out
    assert main(["memory", "--sizes", "784,512,10", "--dim", "1", "--dipole-dim", "8"]) == 0
    out = capsys.readouterr().out
    assert "n = 1, d = 8" in out
    assert "12,276" in out  # 9 * 784 + 10 * 522
    assert main(["memory", "--sizes", "784,512,10", "--dim", "3", "--fixed-inputs"]) == 0
    rows = {line[:22].strip(): line[22:].split() for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows["parameters"][0] == "6,006"  # 3 * 784 fewer
    assert rows["fixed positions"][:2] == ["9.41", "kB"]
    field = ["memory", "--sizes", "784,512,10", "--dim", "2", "--dipole-dim", "8", "--dipole-places", "49"]
    assert main([*field, "--fixed-inputs"]) == 0
    rows = {line[:22].strip(): line[22:].split() for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows["parameters"][0] == "6,134"  # 49 * 8 + 11 * 522
    assert "num_dipole_places: got 49 without fixed_positions" in fails(capsys, *field)
    assert "--sizes: got '784'" in fails(capsys, "memory", "--sizes", "784")
    assert "--sizes: got 'a,b'" in fails(capsys, "memory", "--sizes", "a,b")
    assert "--batch: got 0" in fails(capsys, "memory", "--sizes", "4,3", "--batch", "0")


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert pn.__version__ in out
    assert np.__version__ in out
    assert "backend auto" in out


def test_help_teaches():
    for arguments in (
        ["--help"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["predict", "--help"],
        ["memory", "--help"],
        ["info", "-h"],
    ):
        done = run_process(*arguments)
        assert done.returncode == 0
        assert "usage: pn-gpu" in done.stdout
    assert run_process("--version").stdout.split() == ["pn-gpu", pn.__version__]


def test_bad_input_is_one_line(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    Path("bad.csv").write_text("1,2,0\n3,inf,1\n")
    Path("text.safetensors").write_text("hello")
    assert "nope: no such file or folder" in fails(capsys, "train", "--data", "nope")
    assert "empty" in fails(capsys, "train", "--data", "empty")
    assert "bad.csv" in fails(capsys, "train", "--data", "bad.csv")
    assert "--hidden: got 'a,b'" in fails(capsys, "train", "--hidden", "a,b")
    assert "--dim: got 0" in fails(capsys, "train", "--dim", "0")
    assert "dipole-dim: got 0" in fails(capsys, "train", "--dipole-dim", "0")
    assert "dipole-dim: got 3, want 2" in fails(capsys, "train", "--model", "charge-phase", "--dipole-dim", "3")
    assert "--epochs: got 0" in fails(capsys, "train", "--epochs", "0")
    assert "--lr: got -1" in fails(capsys, "train", "--lr", "-1")
    assert "--backend: got 'jax'" in fails(capsys, "train", "--backend", "jax")
    assert "the folder nowhere does not exist" in fails(capsys, "train", "--output", "nowhere/net")
    assert "net: no such file" in fails(capsys, "evaluate", "net")
    assert "no readable safetensors file" in fails(capsys, "evaluate", "text.safetensors")


def test_data_of_another_width(capsys):
    main(["train", *QUICK, "--output", "net.safetensors"])
    capsys.readouterr()
    np.save("x.npy", np.zeros((2, 5), np.float32))
    assert "want [examples, 64]" in fails(capsys, "predict", "net.safetensors", "--data", "x.npy")


def test_a_diverging_run_is_one_line(capsys):
    code = main(["train", *QUICK, "--recipe", "paper", "--lr", "1e30"])
    captured = capsys.readouterr()
    assert code == 1
    assert "the loss became NaN or infinite" in captured.err
    assert captured.err.count("\n") == 1


def test_unknown_option_exits_with_2():
    done = run_process("train", "--colour", "red")
    assert done.returncode == 2
    assert "unrecognized arguments: --colour red" in done.stderr
    assert "Traceback" not in done.stderr
