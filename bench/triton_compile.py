"""Compiles the kernels that a call would launch, for GPUs that are not there, and reads what the compiler made."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from pn_gpu.kernels.triton import device, gradient, launch, tiles

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPE_NAMES = {
    "float32": "fp32",
    "float64": "fp64",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int32": "i32",
}
MULTIPROCESSORS = 132


@dataclass(frozen=True)
class Launch:
    """One kernel launch, as it was asked for."""

    kernel: JITFunction
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    options: dict[str, Any]


@contextmanager
def captured_launches() -> Iterator[list[Launch]]:
    """Kernels launched inside are listed and do not run."""
    launches: list[Launch] = []
    run = JITFunction.run

    def record(self: JITFunction, *args: Any, grid: tuple[int, ...], warmup: bool, **kwargs: Any) -> None:
        arguments = dict(zip(self.arg_names, args, strict=False))
        arguments |= {name: value for name, value in kwargs.items() if name in self.arg_names}
        options = {name: value for name, value in kwargs.items() if name not in self.arg_names}
        launches.append(Launch(self, grid, arguments, options))

    JITFunction.run = record  # type: ignore[method-assign]
    try:
        yield launches
    finally:
        JITFunction.run = run  # type: ignore[method-assign]


@dataclass(frozen=True)
class Loop:
    """A loop of the machine code: its instructions' names, in order."""

    instructions: tuple[str, ...]

    def count(self, pattern: str) -> int:
        return sum(bool(re.match(pattern, name)) for name in self.instructions)

    def __len__(self) -> int:
        return len(self.instructions)


@dataclass(frozen=True)
class Compiled:
    """A kernel compiled for one architecture."""

    ttgir: str
    ptx: str
    registers: int
    stack_bytes: int
    local_bytes: int
    shared_bytes: int
    threads: int
    loops: tuple[Loop, ...]
    capability: int

    def serialised_products(self) -> list[str]:
        """The assembler's messages (C75xx) of products of warp groups that it lets wait for each other.

        It also tells of arrivals that it put in (C7519), which cost nothing.
        """
        assembler = TOOLS / ("ptxas-blackwell" if self.capability >= 100 else "ptxas")
        architecture = f"sm_{self.capability}" + ("a" if self.capability >= 90 else "")
        with tempfile.NamedTemporaryFile(suffix=".ptx", mode="w") as file:
            file.write(self.ptx)
            file.flush()
            command = [str(assembler), "-v", f"--gpu-name={architecture}", file.name, "-o", "/dev/null"]
            log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        assert "Used" in log, log
        return [line for line in log.splitlines() if re.search(r"C75\d\d", line) and "injected" not in line]

    def weight_loop(self) -> Loop:
        """The innermost loop that evaluates the potential; ValueError if a single turn left none."""
        candidates = [loop for loop in self.loops if loop.count("MUFU") or loop.count("DFMA")]
        if not candidates:
            raise ValueError("the kernel has no loop that evaluates the potential")
        return min(candidates, key=len)


def compile_launch(launch: Launch, capability: int) -> Compiled:
    """Compile ``launch`` for compute capability ``capability`` (90 for 9.0), specialised as Triton would."""
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif hasattr(value, "data_ptr"):
            signature[parameter.name] = "*" + TYPE_NAMES[str(value.dtype).removeprefix("torch.")]
            if value.data_ptr() % 16 == 0:
                attributes[index,] = [["tt.divisibility", 16]]
        elif isinstance(value, int):
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[index,] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "fp32"
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch.options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _output(TOOLS / "cuobjdump", "-res-usage", file.name)
        code = _output(TOOLS / "nvdisasm", "-c", file.name)
    numbers = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    assert numbers is not None, usage
    registers, stack, _, local = map(int, numbers.groups())
    return Compiled(
        ttgir=kernel.asm["ttgir"],
        ptx=kernel.asm["ptx"],
        registers=registers,
        stack_bytes=stack,
        local_bytes=local,
        shared_bytes=kernel.metadata.shared,
        threads=32 * kernel.metadata.num_warps,
        loops=_loops(code),
        capability=capability,
    )


def _output(*command: Any) -> str:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


def _loops(code: str) -> tuple[Loop, ...]:
    """Every loop of a disassembly, from the target of a backward branch to the branch."""
    labels: dict[str, int] = {}
    names: list[str] = []
    found: list[tuple[int, int]] = []
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label.group(1)] = len(names)
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:\{\s*)?(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*?);", line):
            name, operands = instruction.groups()
            target = re.search(r"\.L_\w+", operands)
            if name.startswith("BRA") and target and target.group(0) in labels:
                found.append((labels[target.group(0)], len(names)))
            names.append(name)
    return tuple(Loop(tuple(names[start : end + 1])) for start, end in found)


def launches_of(call: Callable[[], Any], capability: int = 90) -> list[Launch]:
    """What ``call`` launches on a device of that compute capability."""
    played = device.Device(tiles.family_of(*divmod(capability, 10)), MULTIPROCESSORS)
    with contextlib.ExitStack() as stack:
        for module in (launch, gradient):
            stack.enter_context(mock.patch.object(module, "device_of", return_value=played))
        launches = stack.enter_context(captured_launches())
        call()
    return launches
