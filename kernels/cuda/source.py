"""What the CUDA compiler gets: one text per module, put together from the .cu and .cuh files of this folder.

The text includes nothing, so a compiler without header files or search paths takes it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from pn_gpu.kernels.potentials import Potential

# float16, bfloat16: stored in 16 bits, summed in float32.
SUM_DTYPES = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}

_INCLUDE = re.compile(r'#include "([\w.]+)"')


class ModuleKey(NamedTuple):
    """What a compiled module depends on, besides the device."""

    file: str
    dtype: str
    dim: int
    dipole_dim: int
    potential_name: str
    value: str
    derivative: str


def module_key(file: str, dtype: str, dim: int, dipole_dim: int, potential: Potential) -> ModuleKey:
    """The key of the module made of ``file``.

    Raises
    ------
    ValueError
        If the potential has no CUDA expressions.
    """
    if potential.cuda_value is None or potential.cuda_derivative is None:
        raise ValueError(
            f"potential: {potential.name!r} has no CUDA expressions; register it with cuda_value and cuda_derivative, "
            "C++ expressions of a variable s of type T, to use it on CuPy arrays"
        )
    return ModuleKey(file, dtype, dim, dipole_dim, potential.name, potential.cuda_value, potential.cuda_derivative)


def compiler_options(key: ModuleKey) -> tuple[str, ...]:
    """The constants of the module, for NVRTC or nvcc."""
    return (
        "-std=c++17",
        f"-DSCALAR_{key.dtype.upper()}",
        f"-DDIM={key.dim}",
        f"-DDIPOLE_DIM={key.dipole_dim}",
    )


@cache
def module_source(key: ModuleKey) -> str:
    """The CUDA C++ of the module, with the names and lines of the files it comes from."""
    return "\n".join(_expand(key.file, _potential_source(key), set()))


def _expand(name: str, potential: str, seen: set[str]) -> list[str]:
    """The lines of one file, its includes put in place, each once."""
    seen.add(name)
    text = potential if name == "potential.cuh" else read_source(name)
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate(text.splitlines(), start=1):
        include = _INCLUDE.match(line)
        if include:
            if include[1] not in seen:
                lines += _expand(include[1], potential, seen)
            lines.append(f'#line {number + 1} "{name}"')
        elif line != "#pragma once":
            lines.append(line)
        else:
            lines.append("")
    return lines


def read_source(name: str) -> str:
    """The text of a file of this folder."""
    return files("pn_gpu.kernels.cuda").joinpath(name).read_text(encoding="utf-8")


def expression_label(potential_name: str, argument: str) -> str:
    """The file name under which the compiler reports errors in a potential's expression."""
    plain_name = re.sub(r"[^\w .-]", "_", potential_name)
    return f"{argument} of potential {plain_name}"


def _potential_source(key: ModuleKey) -> str:
    functions = []
    for function, argument, expression in (
        ("potential_value", "cuda_value", key.value),
        ("potential_derivative", "cuda_derivative", key.derivative),
    ):
        label = expression_label(key.potential_name, argument)
        functions.append(f'__device__ inline T {function}(T s) {{ return\n#line 1 "{label}"\n{expression}\n; }}')
    return "\n".join(functions)
