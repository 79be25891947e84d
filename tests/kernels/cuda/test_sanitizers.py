"""The kernels under the address and undefined-behaviour sanitizers, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys
from pathlib import Path

import numpy as np
from support import oracle
from support.cuda_shim import ShimRuntime, store

from pn_gpu.kernels import potentials
from pn_gpu.kernels.cuda import launch

dtype = sys.argv[2]
potential = potentials.get("gaussian")
for shape in [(1, 1, 1), (3, 130, 5), (16, 33, 259), (70, 45, 131), (131, 8, 9)]:
    one = [store(a, dtype) for a in oracle.random_case(*shape, dim=2, d=3)]
    for case in oracle.Case(*one), oracle.Case(*(np.stack([a] * 3) for a in one)):
        runtime = ShimRuntime(Path(sys.argv[1]), multiprocessors=8, sanitize=True)
        launch.forward(runtime, case.x, *case.particles, case.bias, potential)
        launch.backward(runtime, case.dz, case.x, *case.particles, potential)
print("clean")
"""


def runtime_libraries() -> list[str]:
    """The sanitizers' own libraries, which must be in the process before Python's allocator."""
    names = ("libasan.so", "libubsan.so")
    found = [
        subprocess.run(["g++", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
        for name in names
    ]
    return [path for path in found if os.path.isabs(path)]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_clean(shim_folder: Path, dtype: str) -> None:
    libraries = runtime_libraries()
    if len(libraries) < 2:
        pytest.skip("g++ has no sanitizer libraries")
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        # Python itself leaks by design; its own allocator would hide the bounds of small arrays.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    command = [sys.executable, "-c", PROGRAM, str(shim_folder), dtype]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout.strip() == "clean"
