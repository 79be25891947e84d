"""Every block of pn_gpu/nn/README.md runs, each as a script in an empty folder; `torchrun` runs those that say so."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support.two_processes import GLOO_ABORTED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "pn_gpu" / "nn" / "README.md"
HEADINGS = [
    "torch",
    "CUDA graphs",
    "safetensors",
    "Hugging Face transformers",
    "Lightning",
    "accelerate",
    "FSDP2 and distributed checkpoints",
    "Tensor parallelism",
    "ONNX",
]
TIMEOUT = 200


def read_recipes() -> dict[str, str]:
    """The one block of code below each heading."""
    _, *sections = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    recipes = {}
    for heading, text in zip(sections[::2], sections[1::2], strict=True):
        (recipes[heading],) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return recipes


def packages(code: str) -> set[str]:
    """What the code imports, by the names of the topmost packages."""
    modules = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    return {name.partition(".")[0] for name in modules}


def test_the_page_has_these_recipes():
    assert list(read_recipes()) == HEADINGS


@pytest.mark.slow
@pytest.mark.parametrize("heading", HEADINGS)
def test_a_recipe_runs(heading, tmp_path):
    code = read_recipes()[heading]
    needed = packages(code) | ({"onnx", "onnxscript"} if "onnx" in code else set())
    for package in sorted(needed - {"pn_gpu"}):
        pytest.importorskip(package)
    command = [sys.executable]
    if code.startswith("# torchrun"):
        if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
            pytest.skip("needs torch.distributed with gloo")
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "recipe.py").write_text(code, encoding="utf-8")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "PN_GPU_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

    def run() -> subprocess.CompletedProcess:
        return subprocess.run(
            [*command, "recipe.py"],
            cwd=tmp_path,
            env={**os.environ, **offline, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    process = run()
    if process.returncode and GLOO_ABORTED in process.stderr:
        process = run()
    assert process.returncode == 0, process.stderr[-4000:]
