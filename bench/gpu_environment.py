"""Versions and devices: ``python -m bench.gpu_environment``."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess

import torch

PACKAGES = ("torch", "triton", "numpy", "cupy-cuda12x", "cupy-cuda13x", "pytest-xdist", "pykeops", "matplotlib")


def describe(device: torch.device | None = None) -> str:
    """A line each for the system, the packages and the GPU with its driver."""
    lines = [f"{platform.platform()}, Python {platform.python_version()}"]
    lines.append(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    lines.append(f"torch built for CUDA {torch.version.cuda}")
    if torch.cuda.is_available():
        device = device if device is not None and device.type == "cuda" else torch.device("cuda")
        properties = torch.cuda.get_device_properties(device)
        lines.append(
            f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
            f"{properties.multi_processor_count} multiprocessors, {properties.total_memory / 2**30:.0f} GiB, "
            f"{properties.L2_cache_size / 2**20:.0f} MiB of L2 cache"
        )
        lines.append(f"driver: {_driver()}")
    else:
        lines.append("no CUDA device")
    return "\n".join(lines)


def version(package: str) -> str:
    """The installed version, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi not found"
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return answer.stdout.strip().replace("\n", "; ") or answer.stderr.strip()


if __name__ == "__main__":
    print(describe())
