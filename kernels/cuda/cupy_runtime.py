"""All that touches CuPy: devices, allocation, compilation and launches.

CuPy keeps compiled modules on disk (by default in ~/.cupy/kernel_cache), so a module is compiled once per machine,
architecture, dtype, number of components and potential.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from pn_gpu.kernels.cuda.launch import Launch
from pn_gpu.kernels.cuda.source import (
    SUM_DTYPES,
    ModuleKey,
    compiler_options,
    expression_label,
    module_source,
)

Array = Any

# cudaErrorInsufficientDriver and cudaErrorNoDevice of the CUDA runtime.
_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100


def check_available() -> None:
    """Return if CuPy can be used here.

    Raises
    ------
    RuntimeError
        If CuPy is not installed, has no driver or device, or was built for something else than this machine has.
    """
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            f"the cupy backend needs CuPy, which cannot be imported ({error}); install cupy-cuda13x or cupy-cuda12x, "
            "whichever fits the CUDA driver"
        ) from error
    runtime = cupy.cuda.runtime
    if runtime.is_hip:
        raise RuntimeError("the cupy backend needs an NVIDIA GPU; this CuPy was built for AMD ROCm")
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise RuntimeError(_explain(runtime, error.status)) from error
    if count == 0:
        raise RuntimeError(_explain(runtime, _NO_DEVICE))


def _explain(runtime: Any, status: int) -> str:
    built = _version(runtime.runtimeGetVersion())
    if status == _NO_DEVICE:
        return "the cupy backend found no CUDA device"
    if status == _INSUFFICIENT_DRIVER:
        driver = runtime.driverGetVersion()
        if driver == 0:
            return "the cupy backend found no CUDA driver on this machine"
        return (
            f"this CuPy was built for CUDA {built}, but the driver supports CUDA {_version(driver)} at most; "
            f"install the CuPy of that version (cupy-cuda{driver // 1000}x) or a newer driver"
        )
    return f"the cupy backend cannot use this machine's CUDA (error {status})"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


@contextmanager
def runtime_for(**arrays: Array | None) -> Iterator[CupyRuntime]:
    """The runtime of the device that holds all of ``arrays``, made the current device meanwhile.

    Raises
    ------
    TypeError
        If one is no CuPy array.
    ValueError
        If one lies on another device than the first.
    """
    import cupy

    given = {name: a for name, a in arrays.items() if a is not None}
    for name, a in given.items():
        if not isinstance(a, cupy.ndarray):
            raise TypeError(f"{name}: got {type(a).__name__}, want a CuPy array")
    first, reference = next(iter(given.items()))
    for name, a in given.items():
        if a.device.id != reference.device.id:
            raise ValueError(f"{name}: got device {a.device.id}, want device {reference.device.id} like {first}")
    with cupy.cuda.Device(reference.device.id):
        yield _runtime(reference.device.id)


@cache
def _runtime(device: int) -> CupyRuntime:
    return CupyRuntime(device)


class CupyRuntime:
    """A `pn_gpu.kernels.cuda.launch.Runtime` of one CUDA device, which must be the current one when it is used."""

    def __init__(self, device: int) -> None:
        import cupy

        self._cupy = cupy
        attributes = cupy.cuda.Device(device).attributes
        self.multiprocessors: int = attributes["MultiProcessorCount"]
        self._capability = (attributes["ComputeCapabilityMajor"], attributes["ComputeCapabilityMinor"])
        self._kernels: dict[tuple[ModuleKey, str], Any] = {}

    def dtype_name(self, a: Array) -> str:
        name = str(a.dtype)
        if name not in SUM_DTYPES:
            raise TypeError(f"x: got dtype {name}, want one of {', '.join(SUM_DTYPES)}")
        if name == "bfloat16" and self._capability < (8, 0):
            major, minor = self._capability
            raise TypeError(
                f"x: got dtype bfloat16, which needs compute capability 8.0 or higher; this device has "
                f"{major}.{minor}: use float16 or float32"
            )
        if self._capability < (7, 5):
            major, minor = self._capability
            raise RuntimeError(
                f"the CuPy kernels need compute capability 7.5 or higher; this device has {major}.{minor}"
            )
        return name

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self._cupy.empty(shape, _numpy_dtype(dtype))

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self._cupy.zeros(shape, _numpy_dtype(dtype))

    def convert(self, a: Array, dtype: str) -> Array:
        return self._cupy.ascontiguousarray(a, _numpy_dtype(dtype))

    def address(self, a: Array) -> int:
        return a.data.ptr

    def launch(self, module: ModuleKey, launch: Launch) -> None:
        kernel = self._kernels.get((module, launch.kernel))
        if kernel is None:
            kernel = self._kernels[module, launch.kernel] = self._compile(module, launch.kernel)
        kernel((launch.blocks,), (launch.threads,), launch.arguments)

    def _compile(self, module: ModuleKey, kernel: str) -> Any:
        try:
            raw = self._cupy.RawModule(code=module_source(module), options=compiler_options(module))
            return raw.get_function(kernel)
        except self._cupy.cuda.compiler.CompileException as error:
            raise compile_error(module, str(error)) from error
        except (ImportError, RuntimeError, OSError) as error:
            if "nvrtc" not in str(error).lower():
                raise
            raise RuntimeError(f"CuPy cannot load NVRTC, the CUDA compiler that the kernels need: {error}") from error


def compile_error(module: ModuleKey, log: str) -> Exception:
    """What to raise when the compiler refuses a module: the user's expression is named where it is to blame."""
    for argument, expression in (("cuda_value", module.value), ("cuda_derivative", module.derivative)):
        label = expression_label(module.potential_name, argument)
        if any(label in line and "error" in line for line in log.splitlines()):
            return ValueError(
                f"potential: {argument} of {module.potential_name!r} does not compile: {expression}\n{log.strip()}"
            )
    return RuntimeError(f"the CUDA kernels of {module.file} do not compile\n{log.strip()}")


def _numpy_dtype(name: str) -> Any:
    """The dtype of a name; bfloat16 is known to NumPy by the package ml_dtypes alone."""
    if name != "bfloat16":
        return name
    return importlib.import_module("ml_dtypes").bfloat16
