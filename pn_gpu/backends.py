"""Array libraries a network can live on: NumPy, torch and CuPy, each with a device."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.checks import check_choice

Array = Any

LIBRARIES = ("numpy", "torch", "cupy")


@dataclass(frozen=True)
class Backend:
    """An array library and one of its devices.

    Attributes
    ----------
    name : str
        What the user asks for: "numpy", "torch:cpu", "torch:cuda:0", "cupy:0".
    xp : module
        The library's array API namespace.
    device : object
        The library's own device object; None is its default device.
    """

    name: str
    xp: Any
    device: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return get_backend, (self.name,)  # a module cannot be pickled

    @property
    def on_host(self) -> bool:
        """Whether reading a scalar back costs no synchronisation with a device."""
        return self.name in ("numpy", "array_api_strict", "torch:cpu")

    @property
    def captures_graphs(self) -> bool:
        """Whether what is computed can be captured in a CUDA graph."""
        return self.name.startswith("torch:cuda")

    def dtype(self, name: str) -> Any:
        """The library's dtype called ``name``."""
        return getattr(self.xp, name)

    def asarray(self, a: Array, dtype: str | None = None) -> Array:
        """``a`` as an array of this library on this device; no copy where none is needed."""
        if compat.is_array_api_obj(a) and compat.array_namespace(a) is not self.xp:
            a = to_numpy(a)
        return self.xp.asarray(a, dtype=None if dtype is None else self.dtype(dtype), device=self.device)

    def zeros(self, shape: int | tuple[int, ...], dtype: str) -> Array:
        """Zeros on this device."""
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.device)


def to_numpy(a: Array) -> np.ndarray[Any, Any]:
    """``a`` as a NumPy array, copied from its device where it has one."""
    if isinstance(a, np.ndarray):
        return a
    if compat.is_torch_array(a):
        return np.asarray(a.detach().cpu())
    if compat.is_cupy_array(a):
        return np.asarray(a.get())
    return np.asarray(a)


def get_backend(name: str | Backend = "auto") -> Backend:
    """The backend called ``name``.

    Parameters
    ----------
    name : str, default "auto"
        "numpy"; "torch" (a CUDA device where there is one, else the CPU), "torch:cpu", "torch:cuda:1"; "cupy",
        "cupy:1"; or "auto": CuPy or torch on a GPU where a driver and one of them are found, else NumPy.

    Raises
    ------
    ValueError
        If the name is unknown or the device does not exist.
    ImportError
        If the library is not installed or does not start.
    """
    if isinstance(name, Backend):
        return name
    if name == "auto":
        return _automatic()
    library, _, device = str(name).partition(":")
    if library == "array_api_strict":
        return Backend("array_api_strict", importlib.import_module("array_api_strict"))
    check_choice("backend", library, (*LIBRARIES, "auto"))
    if library == "numpy":
        if device:
            raise ValueError(f"backend: got {name!r}, want 'numpy' without a device")
        import array_api_compat.numpy as xp

        return Backend("numpy", xp)
    return _torch_backend(device) if library == "torch" else _cupy_backend(device)


def _torch_backend(device: str) -> Backend:
    torch = _import("torch", "pip install torch")
    xp = importlib.import_module("array_api_compat.torch")
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(
            f"backend: got 'torch:{device}', want a torch device such as torch:cpu or torch:cuda:0"
        ) from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"backend: got 'torch:{device}', but torch finds no CUDA device; want torch:cpu or numpy")
        index = torch.cuda.current_device() if chosen.index is None else chosen.index
        if index >= torch.cuda.device_count():
            raise ValueError(f"backend: got 'torch:{device}', want an index below {torch.cuda.device_count()}")
        chosen = torch.device("cuda", index)
    elif chosen.type != "cpu":
        raise ValueError(f"backend: got 'torch:{device}', want torch:cpu or torch:cuda")
    return Backend(f"torch:{chosen}", xp, chosen)


def _cupy_backend(device: str) -> Backend:
    from pn_gpu.kernels.cuda import check_available

    if device and not device.isdecimal():
        raise ValueError(f"backend: got 'cupy:{device}', want cupy or cupy:INDEX")
    try:
        check_available()
    except RuntimeError as error:
        raise ImportError(f"backend: {error}") from error
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    index = int(device) if device else int(cupy.cuda.runtime.getDevice())
    if index >= count:
        raise ValueError(f"backend: got 'cupy:{device}', want an index below {count}")
    return Backend(f"cupy:{index}", importlib.import_module("array_api_compat.cupy"), cupy.cuda.Device(index))


def _import(library: str, remedy: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise ImportError(f"backend: {library} cannot be imported ({error}); {remedy}") from error


def _automatic() -> Backend:
    """A GPU library where there is a driver for it; importing torch for nothing would cost seconds."""
    if cuda_driver_found():
        for library in ("cupy", "torch"):
            if importlib.util.find_spec(library) is None:
                continue
            try:
                backend = get_backend(library)
            except ImportError:
                continue  # installed but without a device it can use; `pn-gpu info` says why
            if not backend.on_host:
                return backend
    return get_backend("numpy")


def cuda_driver_found() -> bool:
    """Whether the CUDA driver library can be loaded."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def describe_backends() -> dict[str, str]:
    """For every library: its version and devices, or why it cannot be used."""
    import importlib.metadata  # slow to import, and for this report alone

    report = {"numpy": f"{np.__version__}, CPU"}
    for library in ("torch", "cupy"):
        if importlib.util.find_spec(library) is None:
            report[library] = "not installed"
            continue
        try:
            backend = get_backend(library)
        except (ImportError, ValueError) as error:
            report[library] = str(error).removeprefix("backend: ")
        else:
            report[library] = f"{sys.modules[library].__version__}, {backend.name}"
    for library in ("triton", "safetensors", "array-api-compat"):
        try:
            report[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            report[library] = "not installed"
    return report
