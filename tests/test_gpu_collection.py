"""The tests that need a GPU, on a machine that has little else: they are collected, and nothing they set warns."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Beside the base dependencies of pn_gpu.
PACKAGES = ("pytest", "hypothesis", "torch", "triton")
# Our own, and the libraries that come with a torch for CUDA.
THERE = ("pn_gpu", "pn_gpu_command", "tests", "bench", "support", "nvidia")

PROGRAM = """
import importlib.metadata
import sys

missing = set(sys.argv[1].split(","))


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
import pytest

sys.exit(pytest.main(sys.argv[2:]))
"""


def closure(packages: tuple[str, ...]) -> set[str]:
    """The packages and all that they need, as far as it is installed."""
    found: set[str] = set()
    wanted = list(packages)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        wanted += [re.match(r"[\w.-]+", r)[0] for r in requirements if "extra ==" not in r]  # type: ignore[index]
    return found


def base_dependencies() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]")[0]
    return re.findall(r'"([\w.-]+)', text)


def test_they_are_collected_without_any_other_package() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    there = closure((*PACKAGES, *base_dependencies()))
    modules = importlib.metadata.packages_distributions()
    missing = {
        module
        for module, distributions in modules.items()
        if not there & {re.sub(r"[-_.]+", "-", d).lower() for d in distributions} and module not in THERE
    }
    assert "array_api_strict" in missing or "array_api_strict" not in modules
    command = [sys.executable, "-c", PROGRAM, ",".join(missing), "tests", "-m", "gpu", "--collect-only", "-q"]
    result = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    collected = {line.partition("::")[0] for line in result.stdout.splitlines() if "::" in line}
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"pytest\.mark\.gpu\b", path.read_text()) and path != Path(__file__)
    }
    assert collected == marked


def test_making_synchronisation_an_error_does_not_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from support.cuda_device import synchronisation_is_an_error

    modes: list[str] = []

    def set_mode(mode: str) -> None:
        modes.append(mode)
        if mode == "error":
            warnings.warn("Synchronization debug mode is a prototype feature and does not yet ...", stacklevel=2)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    with synchronisation_is_an_error():
        pass
    assert modes == ["error", "default"]
