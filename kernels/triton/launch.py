"""The operator on torch CUDA tensors: which kernels run, on what, and in which shapes.

Nothing here synchronises with the device or leaves the caller's stream, so calls can be captured in a CUDA graph.
Memory beside the result: the particle tables, O(N + M); partial sums bounded by the number of programs; and a copy of
x or dz where its rows are not aligned or are split in halves.
"""

from __future__ import annotations

from typing import Any

import torch
import triton

from pn_gpu.kernels.room import Direct, OperatorGradient, Particles
from pn_gpu.kernels.triton.device import COMPILE_OPTIONS, Device, device_of, on_device_of
from pn_gpu.kernels.triton.forward import product_kernel, sum_splits_kernel
from pn_gpu.kernels.triton.gradient import particle_gradient
from pn_gpu.kernels.triton.potentials import PairwiseFunctions, pairwise_functions
from pn_gpu.kernels.triton.rows import Rows, aligned_rows
from pn_gpu.kernels.triton.tables import ParticleTables, make_tables
from pn_gpu.kernels.triton.tiles import ProductTile, product_tile

INPUT_PRECISIONS = ("ieee", "tf32", "bf16x3")
# What torch.set_float32_matmul_precision asks for. "high" allows TF32 or a sum of bfloat16 products; the latter keeps
# five more bits and is as fast here, where making the weights costs more than multiplying by them.
PRECISION_OF_TORCH_SETTING = {"highest": "ieee", "high": "bf16x3", "medium": "tf32"}
FP32_PRODUCT = {"ieee": "float32", "tf32": "tf32", "bf16x3": "halves"}
SUM_BLOCK = 1024
# Splitting the inputs fills the device and costs a second pass over z: a part has at least this many steps.
MIN_STEPS_OF_SPLIT = 4
# As many warps as fit with the registers that a tile takes.
WARPS_PER_MULTIPROCESSOR = 8


def forward(x: Any, particles: Particles, bias: Any | None, how: Direct, keep: bool = False) -> tuple[Any, None]:
    """z = x W + b (Eq. 4 of the paper).

    Parameters
    ----------
    x : Tensor, [B, N]
        float32, bfloat16, float16 or float64, on a CUDA device, of any strides.
    particles : Particles
        Tensors of float32, or float64 with a float64 ``x``, on the device of ``x``.
    bias : Tensor, [M], or None
    how : Direct
        Its precision says how float32 products are computed; other dtypes ignore it. "ieee" is float32 throughout,
        "tf32" rounds the operands to 10 bits, "bf16x3" to 16. None follows torch.get_float32_matmul_precision():
        "highest" is "ieee", "high" is "bf16x3", "medium" is "tf32".

    Returns
    -------
    z : Tensor, [B, M]
        In the dtype of ``x``.
    None
        Nothing is kept for the backward.

    Raises
    ------
    ValueError
        If ``input_precision`` is unknown, or the potential has no Triton functions.
    TypeError
        If a dtype is not supported.
    """
    arithmetic = _arithmetic(x, particles.r_in, how.precision)
    functions = pairwise_functions(how.potential)
    with on_device_of(x):
        tables = make_tables(*particles, functions.position_scale)
        rows = aligned_rows(x, split=arithmetic == "halves")
        return _product(rows, tables, bias, functions, arithmetic, x.dtype), None


def backward(
    dz: Any,
    x: Any,
    particles: Particles,
    how: Direct,
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: None = None,
) -> OperatorGradient:
    """Gradients of a loss from dz [B, M] and the arguments of `forward`.

    Returns
    -------
    OperatorGradient
        ``dx`` in the dtype of ``x``; the particle gradients and ``dbias`` in that of the particles.

    Raises
    ------
    ValueError, TypeError
        As `forward`.
    """
    arithmetic = _arithmetic(x, particles.r_in, how.precision)
    functions = pairwise_functions(how.potential)
    with on_device_of(x):
        tables = make_tables(*particles, functions.position_scale)
        dz_rows = aligned_rows(dz, split=arithmetic == "halves")
        dx = _product(dz_rows, tables.exchanged(), None, functions, arithmetic, x.dtype) if need_dx else None
        gradients: tuple[Any, Any, Any, Any] = (None, None, None, None)
        if need_particles:
            if arithmetic == "tf32":
                # TF32 operands would have to be transposed on the way; bfloat16 halves need not, and are finer.
                arithmetic = "halves"
                dz_rows = aligned_rows(dz, split=True)
            x_rows = aligned_rows(x, split=arithmetic == "halves")
            gradients = particle_gradient(x_rows, dz_rows, tables, functions, arithmetic)
        dbias = dz.sum(dim=0, dtype=particles.r_in.dtype)
    return OperatorGradient(dx, *gradients, dbias)


def _product(
    x: Rows,
    tables: ParticleTables,
    bias: Any | None,
    functions: PairwiseFunctions,
    arithmetic: str,
    dtype: torch.dtype,
) -> Any:
    """z [B, M] of ``dtype`` = x W + bias, with the W of ``tables``."""
    z = torch.empty((x.batch, tables.size_out), dtype=dtype, device=x.high.device)
    if x.batch == 0 or tables.size_out == 0:
        return z
    if tables.size_in == 0:
        return z.zero_() if bias is None else z.copy_(bias)
    device = device_of(z)
    tile = product_tile(device.family, arithmetic, x.batch, tables.n + tables.d)
    tiles_out = triton.cdiv(tables.size_out, tile.BO)
    tiles = tiles_out * triton.cdiv(x.batch, tile.BB)
    splits, inputs_per_split = _splits(tiles, x.columns, tile, device)
    split_z, split_bias = (z, bias) if splits == 1 else (_partial_sums(z, splits), None)
    product_kernel[(tiles, splits)](
        x.high,
        x.low,
        tables.inputs,
        tables.outputs,
        z if split_bias is None else split_bias,
        split_z,
        x.batch,
        x.columns,
        tables.size_out,
        inputs_per_split,
        tiles_out,
        x.stride,
        tables.stride,
        n=tables.n,
        d=tables.d,
        VALUE=functions.value,
        HAS_BIAS=split_bias is not None,
        SPLIT=arithmetic == "halves",
        PADDED=x.columns % tile.BK == 0,
        PRECISION="tf32" if arithmetic == "tf32" else "ieee",
        BO=tile.BO,
        BB=tile.BB,
        BK=tile.BK,
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        **COMPILE_OPTIONS,
    )
    if splits > 1:
        sum_splits_kernel[(triton.cdiv(z.numel(), SUM_BLOCK),)](
            split_z,
            z if bias is None else bias,
            z,
            splits,
            z.numel(),
            tables.size_out,
            HAS_BIAS=bias is not None,
            BLOCK=SUM_BLOCK,
            num_warps=4,
        )
    return z


def _splits(tiles: int, inputs: int, tile: ProductTile, device: Device) -> tuple[int, int]:
    """Into how many parts the inputs are split, and how many of them a part has, to fill the device."""
    steps = triton.cdiv(inputs, tile.BK)
    wanted = WARPS_PER_MULTIPROCESSOR // tile.num_warps * device.multiprocessors // tiles
    splits = max(1, min(wanted, steps // MIN_STEPS_OF_SPLIT))
    steps_per_split = triton.cdiv(steps, splits)
    return triton.cdiv(steps, steps_per_split), steps_per_split * tile.BK


def _partial_sums(z: Any, splits: int) -> Any:
    dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
    return torch.empty((splits, *z.shape), dtype=dtype, device=z.device)


def _arithmetic(x: Any, r_in: Any, input_precision: str | None) -> str:
    """How the products of x are computed, as `tiles` names it."""
    if input_precision not in (None, *INPUT_PRECISIONS):
        raise ValueError(f"input_precision: got {input_precision!r}, want None or one of {', '.join(INPUT_PRECISIONS)}")
    particles = torch.float64 if x.dtype == torch.float64 else torch.float32
    if r_in.dtype != particles:
        raise TypeError(f"r_in: got dtype {r_in.dtype}, want {particles} with an x of {x.dtype}")
    if x.dtype in (torch.bfloat16, torch.float16):
        return "16-bit"
    if x.dtype == torch.float64:
        return "float64"
    if x.dtype != torch.float32:
        raise TypeError(f"x: got dtype {x.dtype}, want float32, bfloat16, float16 or float64")
    return FP32_PRODUCT[input_precision or PRECISION_OF_TORCH_SETTING[torch.get_float32_matmul_precision()]]
