"""A stand-in for CuPy with as much of it as `pn_gpu.kernels.cuda` touches: arrays that know a device, raw modules."""

from __future__ import annotations

import types
from typing import Any

import numpy as np


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(f"CUDA error {status}")
        self.status = status


class CompileException(Exception):
    pass


class Ndarray(np.ndarray):
    """A NumPy array on a device that is only a number."""

    device_id = 0

    def __array_finalize__(self, other: Any) -> None:
        self.device_id = getattr(other, "device_id", 0)

    @property
    def device(self) -> Any:
        return types.SimpleNamespace(id=self.device_id)

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.ctypes.data)


class FakeCupy(types.ModuleType):
    """What ``import cupy`` finds.

    Parameters
    ----------
    capability : (int, int)
        Of every device.
    """

    ndarray = Ndarray

    def __init__(self, capability: tuple[int, int] = (9, 0)) -> None:
        super().__init__("cupy")
        self.current_devices = [0]
        self.modules: list[tuple[str, tuple[str, ...]]] = []
        self.launches: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[Any, ...], int]] = []
        self.compile_failure: Exception | None = None
        self.device_count: int | CUDARuntimeError = 1
        self.driver_version = 13000
        fake = self

        class Device:
            def __init__(self, device: int) -> None:
                self.id = device
                self.attributes = {
                    "MultiProcessorCount": 132,
                    "ComputeCapabilityMajor": capability[0],
                    "ComputeCapabilityMinor": capability[1],
                }

            def __enter__(self) -> Device:
                fake.current_devices.append(self.id)
                return self

            def __exit__(self, *_: object) -> None:
                fake.current_devices.pop()

        def device_count() -> int:
            if isinstance(fake.device_count, CUDARuntimeError):
                raise fake.device_count
            return fake.device_count

        runtime = types.SimpleNamespace(
            is_hip=False,
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=device_count,
            runtimeGetVersion=lambda: 13020,
            driverGetVersion=lambda: fake.driver_version,
        )
        compiler = types.SimpleNamespace(CompileException=CompileException)
        self.cuda = types.SimpleNamespace(Device=Device, runtime=runtime, compiler=compiler)

    def array(self, a: np.ndarray, device: int = 0) -> Ndarray:
        result = np.array(a).view(Ndarray)
        result.device_id = device
        return result

    def _on_current_device(self, a: np.ndarray) -> Ndarray:
        result = a.view(Ndarray)
        result.device_id = self.current_devices[-1]
        return result

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Ndarray:
        return self._on_current_device(np.empty(shape, dtype))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Ndarray:
        return self._on_current_device(np.zeros(shape, dtype))

    def ascontiguousarray(self, a: Ndarray, dtype: Any) -> Ndarray:
        return self._on_current_device(np.ascontiguousarray(a, dtype))

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:
        self.modules.append((code, options))

        def get_function(name: str) -> Any:
            if self.compile_failure is not None:
                raise self.compile_failure

            def kernel(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
                self.launches.append((name, grid, block, arguments, self.current_devices[-1]))

            return kernel

        return types.SimpleNamespace(get_function=get_function)
