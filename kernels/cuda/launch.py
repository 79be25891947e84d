"""The order of launches that makes the operator of its kernels, for any runtime that can allocate and launch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from pn_gpu.kernels.cuda import tiles
from pn_gpu.kernels.cuda.source import SUM_DTYPES, ModuleKey, module_key
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import OperatorGradient

Array = Any

NULL = np.uintp(0)


class Launch(NamedTuple):
    """One kernel on one grid; arrays stand for their addresses, NumPy scalars for themselves."""

    kernel: str
    blocks: int
    threads: int
    arguments: tuple[Any, ...]


class Runtime(Protocol):
    """What the operator needs of a device; dtypes go by their names."""

    multiprocessors: int

    def dtype_name(self, a: Array) -> str:
        """One of the keys of `SUM_DTYPES`; TypeError where the dtype is another or the device has no such."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new C-contiguous array."""

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new C-contiguous array of zeros."""

    def convert(self, a: Array, dtype: str) -> Array:
        """``a`` itself where it is C-contiguous and of this dtype, else such a copy."""

    def address(self, a: Array) -> int:
        """Where the first element lies."""

    def launch(self, module: ModuleKey, launch: Launch) -> None:
        """Put a kernel on the stream and come back at once."""


def forward(
    runtime: Runtime,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    bias: Array | None,
    potential: Potential,
) -> Array:
    """z [B, M]; the arguments are those of the room."""
    dtype = runtime.dtype_name(x)
    sum_dtype = SUM_DTYPES[dtype]
    batch, inputs = x.shape
    outputs = len(r_out)
    _check_extents(B=batch, N=inputs, M=outputs)
    module = module_key("forward.cu", dtype, r_in.shape[1], v_in.shape[1], potential)
    z = runtime.empty((batch, outputs), dtype)
    if batch == 0 or outputs == 0:
        return z
    particles = [runtime.convert(a, sum_dtype) for a in (r_in, v_in, r_out, v_out)]
    bias_argument = NULL if bias is None else runtime.convert(bias, sum_dtype)
    plan = tiles.plan_forward(dtype, batch, inputs, outputs, runtime.multiprocessors)
    partial = NULL if plan.splits == 1 else runtime.empty((plan.splits, batch, outputs), sum_dtype)
    arguments = (
        *_rows(runtime, x),
        *particles,
        bias_argument,
        z,
        partial,
        *_int32(batch, inputs, outputs, plan.splits),
    )
    runtime.launch(module, _checked(Launch(plan.tile.kernel, plan.blocks, plan.tile.threads, arguments)))
    if plan.splits > 1:
        _reduce_partial(runtime, module, partial, z)
    return z


def backward(
    runtime: Runtime,
    dz: Array,
    x: Array,
    r_in: Array,
    v_in: Array,
    r_out: Array,
    v_out: Array,
    potential: Potential,
    need_dx: bool = True,
    need_particles: bool = True,
) -> OperatorGradient:
    """All gradients; the arguments are those of the room."""
    dtype = runtime.dtype_name(x)
    _check_extents(B=len(x), N=len(r_in), M=len(r_out))
    module = module_key("backward.cu", dtype, r_in.shape[1], v_in.shape[1], potential)
    dx = forward(runtime, dz, r_out, v_out, r_in, v_in, None, potential) if need_dx else None
    dbias = _bias_gradient(runtime, module, dz, dtype)
    if not need_particles:
        return OperatorGradient(dx, None, None, None, None, dbias)
    particles = (r_in, v_in, r_out, v_out)
    gradients = _particle_gradients(runtime, module, dz, x, particles, dtype)
    dr_in, dv_in, dr_out, dv_out = (
        runtime.convert(g, runtime.dtype_name(a)) for g, a in zip(gradients, particles, strict=True)
    )
    return OperatorGradient(dx, dr_in, dv_in, dr_out, dv_out, dbias)


def _particle_gradients(
    runtime: Runtime, module: ModuleKey, dz: Array, x: Array, particles: tuple[Array, ...], dtype: str
) -> list[Array]:
    """dr_in, dv_in, dr_out, dv_out in the dtype of sums."""
    sum_dtype = SUM_DTYPES[dtype]
    batch, inputs = x.shape
    outputs = dz.shape[1]
    if 0 in (batch, inputs, outputs):
        return [runtime.zeros(a.shape, sum_dtype) for a in particles]
    plan = tiles.plan_gradient(dtype, inputs, outputs, runtime.multiprocessors)
    components = module.dim + module.dipole_dim
    in_slabs = runtime.empty((plan.chunks_across, inputs, components), sum_dtype)
    out_slabs = runtime.empty((plan.chunks_down, outputs, components), sum_dtype)
    arguments = (
        *_rows(runtime, x),
        *_rows(runtime, dz),
        *(runtime.convert(a, sum_dtype) for a in particles),
        in_slabs,
        out_slabs,
        *_int32(batch, inputs, outputs, plan.tiles_down, plan.tiles_across, plan.chunks_down),
    )
    runtime.launch(module, Launch("particle_gradient", plan.blocks, plan.tile.threads, arguments))
    gradients = [runtime.empty(a.shape, sum_dtype) for a in particles]
    for slabs, (dr, dv) in ((in_slabs, gradients[:2]), (out_slabs, gradients[2:])):
        number, count, _ = slabs.shape
        blocks = tiles.plan_elements(count * components)
        runtime.launch(module, Launch("reduce_particles", blocks, 256, (slabs, dr, dv, *_int32(number, count))))
    return gradients


def _bias_gradient(runtime: Runtime, module: ModuleKey, dz: Array, dtype: str) -> Array:
    """dbias [M], the sum of dz over the batch."""
    batch, outputs = dz.shape
    if 0 in (batch, outputs):
        return runtime.zeros((outputs,), dtype)
    rows = tiles.plan_rows(batch)
    partial = runtime.empty((tiles.ceil_div(batch, rows), outputs), SUM_DTYPES[dtype])
    data, stride, _ = _rows(runtime, dz)
    blocks = len(partial) * tiles.ceil_div(outputs, 128)
    runtime.launch(
        module,
        _checked(Launch("bias_gradient", blocks, 128, (data, stride, partial, *_int32(batch, outputs, rows)))),
    )
    dbias = runtime.empty((outputs,), dtype)
    _reduce_partial(runtime, module, partial, dbias)
    return dbias


def _reduce_partial(runtime: Runtime, module: ModuleKey, partial: Array, target: Array) -> None:
    """Write the sum of partial [slabs, ...] over the slabs to ``target`` [...]."""
    elements = math.prod(target.shape)
    arguments = (partial, target, np.int32(len(partial)), np.int64(elements))
    runtime.launch(module, Launch("reduce_partial", tiles.plan_elements(elements), 256, arguments))


def _rows(runtime: Runtime, a: Array) -> tuple[Array, np.int64, np.int32]:
    """A matrix, the elements between its rows, and whether every row starts at a multiple of 16 bytes.

    Rows may lie anywhere, even all in one place; only where their elements are not neighbours is there a copy.
    """
    rows, columns = a.shape
    item = a.itemsize
    neighbours = columns <= 1 or a.strides[1] == item
    if not neighbours or (rows > 1 and a.strides[0] % item):
        a = runtime.convert(a, runtime.dtype_name(a))
    stride = a.strides[0] // item if rows > 1 else columns
    aligned = runtime.address(a) % 16 == 0 and stride * item % 16 == 0
    return a, np.int64(stride), np.int32(aligned)


def _int32(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)


def _check_extents(**extents: int) -> None:
    for name, extent in extents.items():
        if extent > tiles.LIMIT:
            raise ValueError(f"{name}: got {extent}, want at most {tiles.LIMIT} in the CuPy kernels")


def _checked(launch: Launch) -> Launch:
    if launch.blocks > tiles.MAX_BLOCKS:
        raise ValueError(
            f"{launch.kernel}: got {launch.blocks} blocks, want at most {tiles.MAX_BLOCKS}; take the batch in parts"
        )
    return launch
