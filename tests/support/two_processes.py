"""Two processes of one run over gloo, each a script with the arguments RANK WORLD_SIZE STORE OUTPUT and more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 150
# What libstdc++ says when a thread of gloo's is still there as a process ends. Seen twice in some hundred runs, of two
# scripts that had done nothing wrong, and not understood: a script is then run once more, not twice.
GLOO_ABORTED = "terminate called without an active exception"


def run_two_processes(script: str, folder: Path, *arguments: object) -> list[subprocess.CompletedProcess]:
    """Run ``script`` twice over a store in ``folder``, with ``folder/result.pt`` as its output; both have ended when
    this returns."""
    processes = _run_once(script, folder, *arguments)
    if not any(GLOO_ABORTED in process.stderr for process in processes):
        return processes
    (folder / "store").unlink(missing_ok=True)
    return _run_once(script, folder, *arguments)


def _run_once(script: str, folder: Path, *arguments: object) -> list[subprocess.CompletedProcess]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PN_GPU_NUM_THREADS": "1"}
    common = ["2", str(folder / "store"), str(folder / "result.pt"), *map(str, arguments)]
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), *common], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, stderr=error)
        for process, error in zip(processes, errors, strict=True)
    ]
