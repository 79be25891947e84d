"""What installing and importing promise. (.ci/run builds and installs for real.)"""

import importlib.metadata
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import pn_gpu

ROOT = Path(__file__).parents[1]


def test_import_needs_no_optional_package():
    code = "import sys, pn_gpu, pn_gpu.data, pn_gpu.kernels.numpy; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "numpy" in loaded
    assert loaded.isdisjoint({"torch", "triton", "cupy", "matplotlib", "sklearn"})


def test_kernels_does_not_shadow_another_package():
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_package_data_is_found():
    assert (resources.files("pn_gpu.data") / "digits.npz").is_file()
    assert (resources.files("pn_gpu") / "py.typed").is_file()


def test_version_is_that_of_the_installed_package():
    try:
        installed = importlib.metadata.version("pn-gpu")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pn-gpu runs from the checkout without being installed")
    assert installed == pn_gpu.__version__


def test_embedded_data_stay_small():
    size = sum(path.stat().st_size for path in (ROOT / "pn_gpu").rglob("*.npz"))
    assert 0 < size < 100_000
