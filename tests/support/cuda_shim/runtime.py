"""A runtime for `pn_gpu.kernels.cuda.launch` whose device is this CPU and whose arrays are NumPy's."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from pn_gpu.kernels.cuda.launch import Launch
from pn_gpu.kernels.cuda.source import ModuleKey
from support.cuda_shim.build import build

# NumPy has no bfloat16: here its bits are those of an unsigned 16-bit integer.
_DTYPES = {"bfloat16": np.dtype(np.uint16)} | {name: np.dtype(name) for name in ("float16", "float32", "float64")}


def store(a: np.ndarray, dtype: str) -> np.ndarray:
    """``a`` rounded to nearest, ties to even."""
    if dtype != "bfloat16":
        return a.astype(dtype)
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widen(a: np.ndarray) -> np.ndarray:
    """``a`` in float64."""
    if a.dtype == np.uint16:
        a = (a.astype(np.uint32) << 16).view(np.float32)
    return a.astype(np.float64)


class ShimRuntime:
    """Compiles what it launches into ``folder`` and runs it at once.

    Parameters
    ----------
    folder : Path
        For the compiled libraries.
    multiprocessors : int, default 4
        As many as the grids are planned for.
    reverse : bool, default False
        Run blocks and threads last to first: whoever needs a barrier that is not there gets another result.
    sanitize : bool, default False
        Compile with the address and undefined-behaviour sanitizers.
    """

    def __init__(self, folder: Path, multiprocessors: int = 4, reverse: bool = False, sanitize: bool = False) -> None:
        self.folder = folder
        self.multiprocessors = multiprocessors
        self.reverse = reverse
        self.sanitize = sanitize
        self.launches: list[Launch] = []
        self._libraries: dict[ModuleKey, ctypes.CDLL] = {}

    def dtype_name(self, a: np.ndarray) -> str:
        return next(name for name, dtype in _DTYPES.items() if dtype == a.dtype)

    def empty(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        # All bits set: NaN in every dtype, so what a kernel leaves out shows.
        a = np.empty(shape, _DTYPES[dtype])
        a.view(np.uint8 if a.ndim and a.shape[-1] else a.dtype).fill(0xFF)
        return a

    def zeros(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.zeros(shape, _DTYPES[dtype])

    def convert(self, a: np.ndarray, dtype: str) -> np.ndarray:
        if a.dtype == _DTYPES[dtype]:
            return np.ascontiguousarray(a)
        return np.ascontiguousarray(store(widen(a), dtype))

    def address(self, a: np.ndarray) -> int:
        return a.ctypes.data

    def launch(self, module: ModuleKey, launch: Launch) -> None:
        self.launches.append(launch)
        library = self._libraries.get(module)
        if library is None:
            library = self._libraries[module] = ctypes.CDLL(str(build(module, self.folder, self.sanitize)))
        arguments = [_argument(a) for a in launch.arguments]
        self._check_sizes(library, launch.kernel, [ctypes.sizeof(a) for a in arguments])
        addresses = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        run = getattr(library, f"shim_run_{launch.kernel}")
        run(ctypes.c_uint(launch.blocks), ctypes.c_uint(launch.threads), addresses, ctypes.c_int(self.reverse))

    @staticmethod
    def _check_sizes(library: ctypes.CDLL, kernel: str, got: list[int]) -> None:
        sizes = (ctypes.c_int * 64)()
        count = getattr(library, f"shim_sizes_{kernel}")(sizes)
        want = list(sizes[:count])
        if got != want:
            raise AssertionError(f"{kernel}: arguments of {got} bytes, its parameters have {want}")


class RecordingRuntime(ShimRuntime):
    """Launches nothing and allocates nothing, on a large device: for sizes that no memory holds."""

    def __init__(self) -> None:
        super().__init__(folder=None, multiprocessors=132)  # type: ignore[arg-type]

    def empty(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.broadcast_to(np.zeros((), dtype), shape)

    def convert(self, a: np.ndarray, dtype: str) -> np.ndarray:
        return a

    def launch(self, module: ModuleKey, launch: Launch) -> None:
        self.launches.append(launch)


def _argument(a: Any) -> Any:
    if isinstance(a, np.ndarray):
        return ctypes.c_void_p(a.ctypes.data)
    return {
        np.int32: ctypes.c_int32,
        np.int64: ctypes.c_int64,
        np.uintp: ctypes.c_size_t,
    }[type(a)](int(a))
