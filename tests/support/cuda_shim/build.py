"""From the sources of a module to a library of the same kernels for this CPU."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pn_gpu.kernels.cuda import source
from pn_gpu.kernels.cuda.source import ModuleKey

FOLDER = Path(__file__).parent
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\(.*?\))?\s*(\w+)\(')


def missing() -> str | None:
    """Why the kernels cannot be compiled here, or None."""
    if sys.platform != "linux":
        return "the shim is written for Linux"
    if shutil.which("g++") is None:
        return "no g++"
    version = subprocess.run(["g++", "-dumpversion"], check=True, capture_output=True, text=True).stdout.strip()
    # _Float16 came to x86 with GCC 12.
    return None if int(version.split(".")[0]) >= 12 else f"g++ {version} is older than 12"


def cpu_source(key: ModuleKey) -> str:
    """The module's source with the shim's machine instructions in place of the GPU's."""
    text = source.module_source(key)
    machine = "\n".join(source.read_source("primitives.cuh").replace("#pragma once", "").splitlines())
    if machine not in text:
        raise AssertionError("primitives.cuh is not in the module's source as it lies in its file")
    text = text.replace(machine, f'#include "{FOLDER / "primitives.cuh"}"')
    exports = "\n".join(f"SHIM_EXPORT({name})" for name in dict.fromkeys(KERNEL.findall(_preprocess(text, key))))
    return f'#include "{FOLDER / "shim.hpp"}"\n{text}\n{exports}\n'


def _preprocess(text: str, key: ModuleKey) -> str:
    """The module without the kernels that other dtypes have."""
    command = ["g++", "-E", "-P", "-x", "c++", *source.compiler_options(key), "-"]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def build(key: ModuleKey, folder: Path, sanitize: bool = False) -> Path:
    """The library of one module, compiled unless ``folder`` has it."""
    text = cpu_source(key)
    headers = "".join(path.read_text() for path in sorted(FOLDER.glob("*.[hc]*")) if path.suffix != ".pyc")
    options = (*source.compiler_options(key), *(SANITIZERS if sanitize else ()))
    name = hashlib.sha256(repr((text, headers, options)).encode()).hexdigest()[:16]
    library = folder / f"{name}.so"
    if library.exists():
        return library
    cu_file = folder / f"{name}.cpp"
    cu_file.write_text(text)
    hidden = ("-fvisibility=hidden", "-fno-gnu-unique")
    command = ["g++", "-O1", "-g1", "-shared", "-fPIC", "-w", *hidden, *options, str(cu_file), "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise AssertionError(f"g++ refuses {key}:\n{result.stderr[:4000]}")
    return library
