"""The order of launches that makes the operator of its kernels, for any runtime that can allocate and launch.

A call of several sets is the same launches on larger grids. Arrays that the sets share are read in place, and get the
sum of their gradients over the sets, in their order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from pn_gpu.kernels.cuda import tiles
from pn_gpu.kernels.cuda.source import SUM_DTYPES, ModuleKey, module_key
from pn_gpu.kernels.integers import ceil_div
from pn_gpu.kernels.potentials import Potential
from pn_gpu.kernels.room import OperatorGradient, Particles
from pn_gpu.kernels.sets import num_sets

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
    """z [B, M], or [S, B, M]; the arguments are those of the room."""
    particles = Particles(r_in, v_in, r_out, v_out)
    sets = num_sets(x, *particles, bias)
    shape = (x.shape[-2], r_out.shape[-2])
    return _product(runtime, x, particles, bias, potential, sets, shape if x.ndim == 2 else (sets, *shape))


def _product(
    runtime: Runtime,
    x: Array,
    particles: Particles,
    bias: Array | None,
    potential: Potential,
    sets: int,
    shape: tuple[int, ...],
) -> Array:
    """x W + bias of all sets, or where ``shape`` has but 1 the sum of theirs."""
    dtype = runtime.dtype_name(x)
    sum_dtype = SUM_DTYPES[dtype]
    batch, inputs = x.shape[-2:]
    outputs = shape[-1]
    _check_extents(S=sets, B=batch, N=inputs, M=outputs)
    module = module_key("forward.cu", dtype, particles.r_in.shape[-1], particles.v_in.shape[-1], potential)
    if sets == 0:
        return runtime.zeros(shape, dtype)
    z = runtime.empty(shape, dtype)
    if batch == 0 or outputs == 0:
        return z
    plan = tiles.plan_forward(dtype, batch, inputs, outputs, runtime.multiprocessors, sets)
    # Parts of the inputs, each of all sets: whatever of it is summed is summed in this order.
    parts = plan.splits * sets * batch * outputs // math.prod(shape)
    partial = NULL if parts == 1 else runtime.empty((parts, *shape), sum_dtype)
    arguments = (
        *_rows(runtime, x),
        *_particles(runtime, particles, sum_dtype),
        *((NULL, np.int64(0)) if bias is None else _of_sets(runtime, bias, sum_dtype, 1)),
        z,
        partial,
        *_int32(sets, batch, inputs, outputs, plan.splits),
    )
    runtime.launch(module, _checked(Launch(plan.tile.kernel, plan.blocks, plan.tile.threads, arguments)))
    if parts > 1:
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
    particles = Particles(r_in, v_in, r_out, v_out)
    dtype = runtime.dtype_name(x)
    sets = num_sets(dz)
    _check_extents(S=sets, B=x.shape[-2], N=x.shape[-1], M=dz.shape[-1])
    module = module_key("backward.cu", dtype, r_in.shape[-1], v_in.shape[-1], potential)
    dx = _product(runtime, dz, particles.exchanged(), None, potential, sets, x.shape) if need_dx else None
    dbias = _bias_gradient(runtime, module, dz, sets, dtype)
    if not need_particles:
        return OperatorGradient(dx, None, None, None, None, dbias)
    gradients = _particle_gradients(runtime, module, dz, x, particles, sets, dtype)
    dr_in, dv_in, dr_out, dv_out = (
        runtime.convert(g, runtime.dtype_name(a)) for g, a in zip(gradients, particles, strict=True)
    )
    return OperatorGradient(dx, dr_in, dv_in, dr_out, dv_out, dbias)


def _particle_gradients(
    runtime: Runtime, module: ModuleKey, dz: Array, x: Array, particles: Particles, sets: int, dtype: str
) -> list[Array]:
    """dr_in, dv_in, dr_out, dv_out in the dtype of sums."""
    sum_dtype = SUM_DTYPES[dtype]
    batch, inputs = x.shape[-2:]
    outputs = dz.shape[-1]
    if 0 in (sets, batch, inputs, outputs):
        return [runtime.zeros(a.shape, sum_dtype) for a in particles]
    plan = tiles.plan_gradient(dtype, inputs, outputs, runtime.multiprocessors, sets)
    components = module.dim + module.dipole_dim
    in_slabs = runtime.empty((plan.chunks_across, sets, inputs, components), sum_dtype)
    out_slabs = runtime.empty((plan.chunks_down, sets, outputs, components), sum_dtype)
    arguments = (
        *_rows(runtime, x),
        *_rows(runtime, dz),
        *_particles(runtime, particles, sum_dtype),
        in_slabs,
        out_slabs,
        *_int32(sets, batch, inputs, outputs, plan.tiles_down, plan.tiles_across, plan.chunks_down),
    )
    blocks = sets * plan.blocks
    runtime.launch(module, _checked(Launch("particle_gradient", blocks, plan.tile.threads, arguments)))
    gradients = [runtime.empty(a.shape, sum_dtype) for a in particles]
    _reduce_particles(runtime, module, in_slabs, *gradients[:2])
    _reduce_particles(runtime, module, out_slabs, *gradients[2:])
    return gradients


def _reduce_particles(runtime: Runtime, module: ModuleKey, slabs: Array, dr: Array, dv: Array) -> None:
    """Write the sums of slabs [chunks, S, count, components] over the chunks, and over sets that share particles."""
    chunks, sets, count, components = slabs.shape
    sets_of_dr, sets_of_dv = (len(g) if g.ndim == 3 else 1 for g in (dr, dv))
    alike = sets_of_dr == sets_of_dv
    for sets_left, *targets in [(sets_of_dr, dr, dv)] if alike else [(sets_of_dr, dr, NULL), (sets_of_dv, NULL, dv)]:
        blocks = tiles.plan_elements(sets_left * count * components)
        numbers = np.int32(chunks * sets // sets_left), np.int64(sets_left * count)
        runtime.launch(module, Launch("reduce_particles", blocks, 256, (slabs, *targets, *numbers)))


def _bias_gradient(runtime: Runtime, module: ModuleKey, dz: Array, sets: int, dtype: str) -> Array:
    """dbias [M], or [S, M], the sum of dz over the batch."""
    batch, outputs = dz.shape[-2:]
    shape = (*dz.shape[:-2], outputs)
    if 0 in (sets, batch, outputs):
        return runtime.zeros(shape, dtype)
    rows = tiles.plan_rows(batch)
    partial = runtime.empty((ceil_div(batch, rows), *shape), SUM_DTYPES[dtype])
    data, set_stride, stride, _ = _rows(runtime, dz)
    blocks = len(partial) * sets * ceil_div(outputs, 128)
    arguments = (data, set_stride, stride, partial, *_int32(sets, batch, outputs, rows))
    runtime.launch(module, _checked(Launch("bias_gradient", blocks, 128, arguments)))
    dbias = runtime.empty(shape, dtype)
    _reduce_partial(runtime, module, partial, dbias)
    return dbias


def _reduce_partial(runtime: Runtime, module: ModuleKey, partial: Array, target: Array) -> None:
    """Write the sum of partial [slabs, ...] over the slabs to ``target`` [...]."""
    elements = math.prod(target.shape)
    arguments = (partial, target, np.int32(len(partial)), np.int64(elements))
    runtime.launch(module, Launch("reduce_partial", tiles.plan_elements(elements), 256, arguments))


def _rows(runtime: Runtime, a: Array) -> tuple[Array, np.int64, np.int64, np.int32]:
    """A matrix [B, N], or one of every set; the elements between sets and rows; whether rows start at 16 bytes.

    Rows may lie anywhere, even all in one place; only where their elements are not neighbours is there a copy.
    """
    a = _shared_once(a, 2)
    rows, columns = a.shape[-2:]
    item = a.itemsize
    sets = a.ndim > 2 and len(a) > 1
    neighbours = columns <= 1 or a.strides[-1] == item
    if not neighbours or (rows > 1 and a.strides[-2] % item) or (sets and a.strides[0] % item):
        a = runtime.convert(a, runtime.dtype_name(a))
    stride = a.strides[-2] // item if rows > 1 else columns
    set_stride = a.strides[0] // item if sets else 0
    aligned = all(address % 16 == 0 for address in (runtime.address(a), stride * item, set_stride * item))
    return a, np.int64(set_stride), np.int64(stride), np.int32(aligned)


def _particles(runtime: Runtime, particles: Particles, dtype: str) -> tuple[Any, ...]:
    """The arrays of both node sets, each with the elements between sets."""
    return tuple(argument for a in particles for argument in _of_sets(runtime, a, dtype, 2))


def _of_sets(runtime: Runtime, a: Array, dtype: str, dimensions: int) -> tuple[Array, np.int64]:
    """An array of ``dimensions``, or one of every set, as the kernels read it, and the elements between sets."""
    a = runtime.convert(_shared_once(a, dimensions), dtype)
    return a, np.int64(math.prod(a.shape[1:]) if a.ndim > dimensions and len(a) > 1 else 0)


def _shared_once(a: Array, dimensions: int) -> Array:
    """Of an array that all sets share by stride 0, one set."""
    return a[:1] if a.ndim > dimensions and len(a) > 1 and a.strides[0] == 0 else a


def _int32(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)


def _check_extents(**extents: int) -> None:
    for name, extent in extents.items():
        if extent > tiles.LIMIT:
            raise ValueError(f"{name}: got {extent}, want at most {tiles.LIMIT} in the CuPy kernels")


def _checked(launch: Launch) -> Launch:
    if launch.blocks > tiles.MAX_BLOCKS:
        raise ValueError(
            f"{launch.kernel}: got {launch.blocks} blocks, want at most {tiles.MAX_BLOCKS}; take the batch, or the "
            "sets, in parts"
        )
    return launch
