"""Whether an installed pn_gpu works on its own: check_install.py FOLDER, the folder it must lie in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

IMPORT_SECONDS = 0.3  # on top of NumPy's own import

TIMED_IMPORT = """
import time
import numpy
start = time.thread_time()
import pn_gpu
print(time.thread_time() - start)
"""


def check_operator(folder: Path) -> None:
    """Import, use and locate the package."""
    import numpy as np

    import pn_gpu
    import pn_gpu.kernels.numpy
    from pn_gpu.data import load_digits

    for module in (pn_gpu, pn_gpu.kernels.numpy):
        if not Path(module.__file__ or "").resolve().is_relative_to(folder.resolve()):
            sys.exit(f"{module.__name__} was imported from {module.__file__}, not from {folder}")
    x, r, v = (np.ones(shape, np.float32) for shape in ((2, 5), (5, 3), (5, 3)))
    z = pn_gpu.particle_linear(x, r, v, r[:4], v[:4])
    if not np.allclose(z, 15):  # five coincident inputs with v . v = 3
        sys.exit(f"particle_linear returned {z}")
    print(f"{pn_gpu.__file__}: {len(load_digits().x_train)} digits, z = {z[0, 0]}")
    loaded = sorted({"torch", "triton", "cupy"} & sys.modules.keys())
    if loaded:
        sys.exit(f"pn_gpu imported {', '.join(loaded)}")


def check_import_time() -> None:
    """The CPU time of the best of several fresh interpreters, so that what else the machine does hardly counts."""
    runs = [
        float(subprocess.run([sys.executable, "-c", TIMED_IMPORT], check=True, capture_output=True, text=True).stdout)
        for _ in range(7)
    ]
    print(f"import pn_gpu takes {min(runs):.3f} s on top of NumPy")
    if min(runs) > IMPORT_SECONDS:
        sys.exit(f"want at most {IMPORT_SECONDS} s")


if __name__ == "__main__":
    check_operator(Path(sys.argv[1]))
    check_import_time()
