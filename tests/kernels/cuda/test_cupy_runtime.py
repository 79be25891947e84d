"""The launcher's handling of devices, dtypes and errors, with a stand-in for CuPy."""

from __future__ import annotations

import builtins
import dataclasses
import sys
from typing import Any

import numpy as np
import pytest
from array_api_compat import numpy as numpy_namespace

from pn_gpu import dispatch
from pn_gpu.kernels import cuda, potentials
from pn_gpu.kernels.cuda import cupy_runtime, triton_bridge
from pn_gpu.kernels.room import Direct, Particles
from support import fake_cupy, oracle
from support.fake_cupy import CompileException, CUDARuntimeError, FakeCupy

GAUSSIAN = potentials.get("gaussian")


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    return install(monkeypatch, FakeCupy())


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeCupy) -> FakeCupy:
    monkeypatch.setitem(sys.modules, "cupy", fake)
    # Runtimes are kept per device: this test shall see none but its own.
    fresh = cupy_runtime.cache(cupy_runtime.CupyRuntime)
    monkeypatch.setattr(cupy_runtime, "_runtime", fresh)
    return fake


def arrays(cupy: FakeCupy, dtype: Any = np.float32, device: int = 0) -> oracle.Case:
    return oracle.Case(*(cupy.array(a, device) for a in oracle.random_case(40, 100, 30, dim=2, d=3, dtype=dtype)))


def forward(case: oracle.Case, potential: Any = GAUSSIAN) -> Any:
    return cuda.forward(case.x, case.particles, case.bias, Direct(potential))[0]


def test_what_a_forward_launches(cupy: FakeCupy) -> None:
    case = arrays(cupy)
    z = forward(case)
    assert isinstance(z, fake_cupy.Ndarray)
    assert z.shape == (40, 30)
    names = [launch[0] for launch in cupy.launches]
    assert names[0] in {"forward_16", "forward_64"}
    assert names[1:] in ([], ["reduce_partial"])
    _, grid, block, arguments, device = cupy.launches[0]
    assert len(grid) == len(block) == 1
    assert device == 0
    # Arrays go as they are, contiguous ones without a copy; numbers have the width of their parameter.
    assert arguments[0] is case.x
    assert arguments[4].ctypes.data == case.r_in.ctypes.data
    assert [type(a) for a in arguments[1:4]] == [np.int64, np.int64, np.int32]
    assert arguments[1:3] == (0, 100)
    assert not any(isinstance(a, (int, float)) and not isinstance(a, np.generic) for a in arguments)


def test_sets_are_the_launches_of_one_call(cupy: FakeCupy) -> None:
    case = arrays(cupy)
    forward(case)
    cuda.backward(case.dz, case.x, case.particles, Direct(GAUSSIAN))
    of_one_call = {launch[0] for launch in cupy.launches}
    cupy.launches.clear()
    x, *nodes, bias, dz = (cupy.array(np.stack([a] * 3)) for a in case)
    room, how = dispatch._sets_room("cupy"), (Direct(GAUSSIAN),) * 3
    z, _ = room.forward(x, Particles(*nodes), bias, how)
    room.backward(dz, x, Particles(*nodes), how)
    assert z.shape == (3, 40, 30)
    names = [launch[0] for launch in cupy.launches]
    assert [name for name in names if name.startswith("forward")] == [names[0]] * 2  # z and dx
    assert names.count("particle_gradient") == 1
    assert of_one_call - {"reduce_partial"} <= set(names)


def test_a_module_is_compiled_once(cupy: FakeCupy) -> None:
    case = arrays(cupy)
    forward(case)
    compiled = len(cupy.modules)
    forward(case)
    assert len(cupy.modules) == compiled
    code, options = cupy.modules[0]
    assert options == ("-std=c++17", "-DSCALAR_FLOAT32", "-DDIM=2", "-DDIPOLE_DIM=3")
    assert "#include" not in code
    forward(case, potentials.get("lorentzian"))
    assert len(cupy.modules) > compiled


def test_the_device_of_the_arrays_is_made_current(cupy: FakeCupy) -> None:
    z = forward(arrays(cupy, device=3))
    assert z.device.id == 3
    assert {launch[-1] for launch in cupy.launches} == {3}
    assert cupy.current_devices == [0]


def test_mixed_devices(cupy: FakeCupy) -> None:
    case = arrays(cupy)._replace(v_out=cupy.array(np.zeros((30, 3), np.float32), device=1))
    with pytest.raises(ValueError, match=r"v_out: got device 1, want device 0 like x"):
        forward(case)
    with pytest.raises(ValueError, match=r"v_out: got device 1, want device 0 like dz"):
        cuda.backward(case.dz, case.x, case.particles, Direct(GAUSSIAN))


def test_an_array_of_another_library(cupy: FakeCupy) -> None:
    case = arrays(cupy)._replace(r_in=np.zeros((100, 2), np.float32))
    with pytest.raises(TypeError, match=r"r_in: got ndarray, want a CuPy array"):
        forward(case)


def test_a_dtype_without_kernels(cupy: FakeCupy) -> None:
    with pytest.raises(TypeError, match=r"got dtype int64, want one of float16, bfloat16, float32, float64"):
        forward(oracle.Case(*(a.astype(np.int64) for a in arrays(cupy))))


def test_bfloat16_before_ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = install(monkeypatch, FakeCupy(capability=(7, 5)))
    case = arrays(cupy)

    class Bfloat16Array(fake_cupy.Ndarray):
        dtype = "bfloat16"  # type: ignore[assignment]

    with pytest.raises(
        TypeError, match=r"bfloat16, which needs compute capability 8\.0 or higher; this device has 7\.5"
    ):
        forward(case._replace(x=case.x.view(Bfloat16Array)))


class DeviceArray:
    """As much of an array as the checks of the public operator look at."""

    device = "a GPU"

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return numpy_namespace


def test_the_public_operator_takes_bfloat16() -> None:
    array = DeviceArray(pytest.importorskip("ml_dtypes").bfloat16)
    dispatch.check_arrays(x=array, r_in=array, bias=None)
    with pytest.raises(TypeError, match="x: got dtype int64, want a real floating dtype"):
        dispatch.check_arrays(x=DeviceArray(np.int64), r_in=array)


def test_an_older_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = install(monkeypatch, FakeCupy(capability=(6, 1)))
    with pytest.raises(RuntimeError, match=r"need compute capability 7\.5 or higher; this device has 6\.1"):
        forward(arrays(cupy))


def test_a_potential_without_expressions(cupy: FakeCupy) -> None:
    plain = dataclasses.replace(GAUSSIAN, name="plain", cuda_value=None)
    with pytest.raises(ValueError, match=r"potential: 'plain' has no CUDA expressions"):
        forward(arrays(cupy), plain)


def test_an_expression_that_does_not_compile(cupy: FakeCupy) -> None:
    log = 'cuda_value of potential mine(1): error: identifier "ex" is undefined'
    cupy.compile_failure = CompileException(log)
    mine = dataclasses.replace(GAUSSIAN, name="mine", cuda_value="ex(-s)")
    with pytest.raises(
        ValueError, match=r"(?s)cuda_value of 'mine' does not compile: ex\(-s\).*\(1\): error: identifier"
    ):
        forward(arrays(cupy), mine)


def test_nvrtc_is_missing(cupy: FakeCupy) -> None:
    cupy.compile_failure = RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: no such file")
    with pytest.raises(RuntimeError, match=r"cannot load NVRTC.*libnvrtc\.so\.13"):
        forward(arrays(cupy))


def test_triton_is_off_unless_asked_for(cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PN_GPU_CUPY_TRITON", "yes")
    with pytest.raises(ValueError, match=r"PN_GPU_CUPY_TRITON: got 'yes', want 0 or 1"):
        forward(arrays(cupy))
    monkeypatch.setenv("PN_GPU_CUPY_TRITON", "0")
    forward(arrays(cupy))
    assert cupy.launches


def test_triton_without_torch(cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PN_GPU_CUPY_TRITON", "1")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match=r"PN_GPU_CUPY_TRITON=1 needs torch and Triton"):
        forward(arrays(cupy))


def test_the_null_stream_of_cupy_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the handle 0 torch's ExternalStream would make a new stream, which nothing waits for."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: ("default", device))
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda pointer, device: (pointer, device))
    assert triton_bridge._torch_stream(0, 1) == ("default", 1)
    assert triton_bridge._torch_stream(4711, 1) == (4711, 1)


def test_available(cupy: FakeCupy) -> None:
    cuda.check_available()


def test_cupy_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_cupy(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cupy":
            raise ImportError("No module named 'cupy'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_cupy)
    with pytest.raises(RuntimeError, match=r"needs CuPy, which cannot be imported.*install cupy-cuda"):
        cuda.check_available()


@pytest.mark.parametrize(
    ("count", "driver", "message"),
    [
        (CUDARuntimeError(35), 0, r"found no CUDA driver on this machine"),
        (CUDARuntimeError(35), 12040, r"built for CUDA 13\.2, but the driver supports CUDA 12\.4.*cupy-cuda12x"),
        (CUDARuntimeError(100), 13000, r"found no CUDA device"),
        (0, 13000, r"found no CUDA device"),
        (CUDARuntimeError(999), 13000, r"\(error 999\)"),
    ],
)
def test_no_use_of_cuda(cupy: FakeCupy, count: Any, driver: int, message: str) -> None:
    cupy.device_count, cupy.driver_version = count, driver
    with pytest.raises(RuntimeError, match=message):
        cuda.check_available()


def test_rocm(cupy: FakeCupy) -> None:
    cupy.cuda.runtime.is_hip = True
    with pytest.raises(RuntimeError, match=r"needs an NVIDIA GPU"):
        cuda.check_available()
