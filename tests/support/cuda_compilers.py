"""NVRTC, which compiles CUDA without a GPU, and what its assembler reports of each kernel.

The environment variable NVRTC_FOLDER names a folder with another version than the installed one.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

# What CuPy adds of its own.
CUPY_OPTIONS = ("-ftz=true",)


class Resources(NamedTuple):
    """What one kernel takes."""

    registers: int
    spilled_bytes: int
    stack_bytes: int
    shared_bytes: int


class CompilerError(Exception):
    """The compiler's log."""


def available() -> bool:
    """Whether NVRTC is installed."""
    return _nvrtc() is not None


def compile_report(source: str, options: tuple[str, ...], architecture: str) -> str:
    """The log of compiling down to machine code, verbose about registers; a `CompilerError` where it fails."""
    options = (*options, *CUPY_OPTIONS, f"-arch=sm_{architecture}")
    return _compile_nvrtc(source, (*options, "--ptxas-options=-v", "--device-as-default-execution-space"))


@cache
def _nvrtc() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(f) for f in spec.submodule_search_locations or ()] if spec else []
    libraries = [library for folder in folders for library in sorted(folder.glob("*/lib/libnvrtc.so.*"))]
    if "NVRTC_FOLDER" in os.environ:
        libraries = sorted(Path(os.environ["NVRTC_FOLDER"]).glob("libnvrtc.so.*"))
    return ctypes.CDLL(str(libraries[0])) if libraries else None


def _compile_nvrtc(source: str, options: tuple[str, ...]) -> str:
    nvrtc = _nvrtc()
    assert nvrtc is not None
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"module.cu", 0, None, None)
    try:
        encoded = [option.encode() for option in options]
        status = nvrtc.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if status:
        raise CompilerError(log.value.decode())
    return log.value.decode()


def resources(report: str) -> dict[str, Resources]:
    """What each kernel takes, by its name."""
    result = {}
    for part in report.split("Compiling entry function ")[1:]:
        name = part.split("'")[1]

        def number(pattern: str, text: str = part) -> int:
            found = re.search(pattern, text)
            return int(found[1]) if found else 0

        result[name] = Resources(
            registers=number(r"Used (\d+) registers"),
            spilled_bytes=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
            stack_bytes=number(r"(\d+) bytes stack frame"),
            shared_bytes=number(r"(\d+) bytes smem"),
        )
    return result
