"""What a user without Triton is told, which needs no GPU to be found out."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch

from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct
from pn_gpu.kernels.torch import compute


def test_missing_triton_says_what_to_install(monkeypatch):
    def no_triton(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", no_triton)
    compute._triton_room.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'pn-gpu\[torch\]'"):
        compute.room_of(torch.device("cuda"), Direct(potentials.get("gaussian")))


def test_import_leaves_torch_alone():
    code = "import sys, pn_gpu; sys.exit('torch' in sys.modules or 'triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
