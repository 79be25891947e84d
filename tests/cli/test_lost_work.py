"""Nothing is lost, and nothing crashes: files that cannot be written, readers that go away, interruptions."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pn_gpu as pn
import pn_gpu_command
from pn_gpu.cli import main

ROOT = Path(__file__).parents[2]
QUICK = ["--epochs", "2", "--hidden", "8", "--backend", "numpy"]

on_posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shell(script):
    """A POSIX shell's run of a script in which $PN is the command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PN": f"{sys.executable} -m pn_gpu", "PYTHONWARNINGS": "error"}
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def fails(capsys, *arguments):
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_files_are_tried_before_the_training(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(pn.ParticleNetwork, "fit", lambda *_, **__: pytest.fail("trained"))
    for flag in ("--output", "--checkpoint", "--history"):
        assert f"{tmp_path}: got a folder, want a file" in fails(capsys, "train", flag, str(tmp_path))
    if Path("/proc").is_dir():
        assert "/proc/a: cannot be written" in fails(capsys, "train", "--output", "/proc/a")
    err = fails(capsys, "train", "--checkpoint", "x", "--output", "x")
    assert "--checkpoint: got x, want another file than that of --output" in err
    Path("run").write_text("a run of days")
    assert "--checkpoint: run holds a run already; want --resume" in fails(capsys, "train", "--checkpoint", "run")
    assert Path("run").read_text() == "a run of days"


def test_a_network_that_cannot_be_saved_is_saved_beside(capsys, monkeypatch):
    def save(network, path, save=pn.ParticleNetwork.save):
        if Path(path).name == "net.safetensors":
            raise OSError(28, "No space left on device")
        save(network, path)

    monkeypatch.setattr(pn.ParticleNetwork, "save", save)
    Path("net-1.safetensors").write_text("another's")
    assert main(["train", *QUICK, "--output", "net.safetensors"]) == 1
    captured = capsys.readouterr()
    assert "net.safetensors could not be written" in captured.err
    assert "the network is in net-2.safetensors" in captured.err
    assert pn.load("net-2.safetensors", backend="numpy").sizes == (64, 8, 10)
    assert Path("net-1.safetensors").read_text() == "another's"


def test_memory_that_is_not_there(capsys, monkeypatch):
    def greedy(*_, **__):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr(pn.ParticleNetwork, "fit", greedy)
    assert "pn-gpu: error: out of memory (Unable to allocate 3 TiB)" in fails(capsys, "train")


@on_posix
def test_nobody_reads_what_is_printed():
    done = shell(f"$PN train {' '.join(QUICK)} --output a.st | head -n 1; ls a.st")
    assert done.stdout.startswith("data      digits")
    assert done.stdout.endswith("a.st\n")
    assert done.stderr == ""
    for command in ("info", "--help", "memory --sizes 10,10"):
        done = shell(f"$PN {command} | true")
        assert (done.returncode, done.stderr) == (0, "")


@on_posix
@pytest.mark.parametrize("closed", [">&- 2>&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed):
    done = shell(f"$PN train {' '.join(QUICK)} --output a.st {closed}")
    assert done.returncode == 0
    assert pn.load("a.st", backend="numpy").sizes == (64, 8, 10)


@on_posix
def test_a_full_disk_is_an_error():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    done = shell("$PN info > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "pn-gpu: error: [Errno 28] No space left on device\n"


@on_posix
def test_data_from_a_pipe():
    Path("t.csv").write_text("a,b,c\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(40)))
    done = shell(f"cat t.csv | $PN train {' '.join(QUICK)} --quiet --data - --output a.st")
    assert done.returncode == 0, done.stderr
    assert "data      data: 32 training and 8 test examples" in done.stdout
    want = shell("$PN predict a.st --data t.csv").stdout
    assert len(want.split()) == 40
    assert shell("gzip -c t.csv | $PN predict a.st --data -").stdout == want
    assert shell("mkfifo p; cat t.csv > p & $PN predict a.st --data p").stdout == want


INTERRUPTED = """
import signal, sys
import pn_gpu_command

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "{name}":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["pn-gpu", "info"]
sys.exit(pn_gpu_command.main())
"""


@on_posix
@pytest.mark.parametrize("name", ["pn_gpu", "numpy", "pn_gpu.cli.main"])
def test_ctrl_c_while_the_library_is_imported_is_no_traceback(name):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(name=name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_afterwards_is_an_error_in_a_line(capsys, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("pn_gpu.cli.data_options.data.load", interrupted)
    monkeypatch.setattr(sys, "argv", ["pn-gpu", "train"])
    handler = signal.getsignal(signal.SIGINT)
    assert pn_gpu_command.main() == 130
    assert signal.getsignal(signal.SIGINT) == handler
    assert capsys.readouterr().err == "pn-gpu: error: interrupted\n"
