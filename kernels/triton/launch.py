"""The operator on torch CUDA tensors: which kernels run, on what, and in which shapes.

A call of several sets is the same launches on larger grids. Arrays that the sets share are read in place, and get the
sum of their gradients over the sets, in their order.

Nothing here synchronises with the device or leaves the caller's stream, so calls can be captured in a CUDA graph.
Memory beside the result: the particle tables, O(N + M); partial sums bounded by the number of programs; and a copy of
x or dz where its rows are not aligned or are split in halves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pn_gpu.kernels.integers import ceil_div
from pn_gpu.kernels.room import PRECISIONS, Direct, OperatorGradient, Particles
from pn_gpu.kernels.sets import num_sets
from pn_gpu.kernels.triton.device import COMPILE_OPTIONS, Device, device_of, on_device_of
from pn_gpu.kernels.triton.factors import (
    MOST_DIPOLE_COMPONENTS,
    MOST_POSITION_COMPONENTS,
    Factors,
    make_factors,
)
from pn_gpu.kernels.triton.few_rows import launch_few_rows
from pn_gpu.kernels.triton.forward import product_kernel, sum_splits_kernel
from pn_gpu.kernels.triton.fused import FusedPass
from pn_gpu.kernels.triton.gradient import fused_pass, particle_gradient
from pn_gpu.kernels.triton.potentials import PairwiseFunctions, pairwise_functions
from pn_gpu.kernels.triton.rows import Rows, aligned_rows
from pn_gpu.kernels.triton.sets import set_stride
from pn_gpu.kernels.triton.tables import ParticleTables, make_tables
from pn_gpu.kernels.triton.tiles import (
    FACTORED_PRODUCT_TILES,
    LEAST_ROWS_OF_PRODUCT,
    ProductTile,
    factored_product_tile,
    product_tile,
    shares_exponentials,
)

# What torch.set_float32_matmul_precision asks for. "high" allows TF32 or a sum of bfloat16 products; the latter keeps
# five more bits and is as fast here, where making the weights costs more than multiplying by them.
PRECISION_OF_TORCH_SETTING = {"highest": "ieee", "high": "bf16x3", "medium": "tf32"}
FP32_PRODUCT = {"ieee": "float32", "tf32": "tf32", "bf16x3": "halves"}
SUM_BLOCK = 1024
# Below so many weights a layer is a matter of launches, and factors take two more of them.
LEAST_FACTORED_WEIGHTS = 1 << 20
# Splitting the inputs fills the device and costs a second pass over z: a part has at least this many steps.
MIN_STEPS_OF_SPLIT = 4


class Kept(NamedTuple):
    """What a forward leaves to its backward: O(N + M)."""

    tables: ParticleTables
    factors: Factors | None


def forward(x: Any, particles: Particles, bias: Any | None, how: Direct, keep: bool = False) -> tuple[Any, Kept | None]:
    """z = x W + b (Eq. 4 of the paper).

    Parameters
    ----------
    x : Tensor, [B, N], or [S, B, N]
        float32, bfloat16, float16 or float64, on a CUDA device, of any strides.
    particles : Particles
        Tensors of float32, or float64 with a float64 ``x``, on the device of ``x``. With sets they and the bias have S
        of them first, too, or 1 that all share, as may x.
    bias : Tensor, [M], or None
    how : Direct
        Its precision says how float32 products are computed; other dtypes ignore it. "ieee" is float32 throughout,
        "tf32" rounds the operands to 10 bits, "bf16x3" to 16. None follows torch.get_float32_matmul_precision():
        "highest" is "ieee", "high" is "bf16x3", "medium" is "tf32".

    Returns
    -------
    z : Tensor, [B, M], or [S, B, M]
        In the dtype of ``x``.
    Kept or None
        With ``keep``, the tables of the particles.

    Raises
    ------
    ValueError
        If ``input_precision`` is unknown, or the potential has no Triton functions.
    TypeError
        If a dtype is not supported.
    """
    arithmetic = _arithmetic(x, particles.r_in, how.precision)
    functions = pairwise_functions(how.potential)
    size_out = particles.r_out.shape[-2]
    with on_device_of(x):
        sets = num_sets(x, *particles, bias)
        shape = (x.shape[0], size_out) if x.ndim == 2 else (sets, x.shape[1], size_out)
        kept = _tables_of(particles, sets, functions, arithmetic)
        rows = aligned_rows(x, split=arithmetic == "halves")
        z = _product(rows, *kept, bias, functions, arithmetic, x.new_empty(shape))
    return z, kept if keep else None


def backward(
    dz: Any,
    x: Any,
    particles: Particles,
    how: Direct,
    need_dx: bool = True,
    need_particles: bool = True,
    residuals: Kept | None = None,
) -> OperatorGradient:
    """Gradients of a loss from dz [B, M], or [S, B, M], and the arguments of `forward`.

    Returns
    -------
    OperatorGradient
        ``dx`` in the dtype of ``x``; the particle gradients and ``dbias`` in that of the particles. Each has the shape
        of what it belongs to, but dbias that of dz without its rows.

    Raises
    ------
    ValueError, TypeError
        As `forward`.
    """
    arithmetic = _arithmetic(x, particles.r_in, how.precision)
    functions = pairwise_functions(how.potential)
    with on_device_of(x):
        tables, factors = residuals or _tables_of(particles, num_sets(dz), functions, arithmetic)
        dz_rows = aligned_rows(dz, split=arithmetic == "halves")
        dx, fused = None, None
        gradients: tuple[Any, Any, Any, Any] = (None, None, None, None)
        if need_particles:
            # TF32 operands would have to be transposed on the way; bfloat16 halves need not, and are finer.
            numbers = "halves" if arithmetic == "tf32" else arithmetic
            g_rows = aligned_rows(dz, split=True) if arithmetic == "tf32" else dz_rows
            x_rows = aligned_rows(x, split=numbers == "halves")
            fused = fused_pass(x_rows, g_rows, tables, factors, need_dx)
            of_sets = particle_gradient(x_rows, g_rows, tables, factors, functions, numbers, fused)
            gradients = Particles(*map(_like, of_sets, particles))
        if need_dx:
            exchanged = None if factors is None else factors.exchanged()
            dx = x.new_empty(x.shape)
            _product(dz_rows, tables.exchanged(), exchanged, None, functions, arithmetic, dx, fused)
        dbias = dz.sum(dim=-2, dtype=particles.r_in.dtype)
    return OperatorGradient(dx, *gradients, dbias)


def _like(gradient: Any, particles: Any) -> Any:
    """The gradient [S, N, c] of particles that have S sets, none, or 1 that all share."""
    if particles.ndim == 2:
        return gradient[0]
    return gradient if len(gradient) == len(particles) else gradient.sum(dim=0, keepdim=True)


def _product(
    x: Rows,
    tables: ParticleTables,
    factors: Factors | None,
    bias: Any | None,
    functions: PairwiseFunctions,
    arithmetic: str,
    z: Any,
    fused: FusedPass | None = None,
) -> Any:
    """z = x W + bias, with the W of ``tables``, made of ``factors`` where there are any.

    ``z`` is new memory for a matrix, or for one of every set; or for one that is the sum over the sets. With ``fused``
    its parts are there already, unless a particle is far out.
    """
    if z.numel() == 0:
        return z
    if tables.sets * tables.size_in == 0:
        return z.zero_() if bias is None else z.copy_(bias.unsqueeze(-2))
    if bias is not None and bias.stride(-1) != 1:
        bias = bias.contiguous()
    of_sets = tables.sets * x.batch * tables.size_out
    device = device_of(z)
    exact = product_tile(device.family, arithmetic, x.batch, tables.n + tables.d)
    factored = exact if factors is None else factored_product_tile(device.family, x.batch)
    # Whichever of the two launches does the work, the parts are the same.
    launches: tuple[tuple[ProductTile, bool], ...]
    launches = ((exact, False),) if factors is None or fused is not None else ((factored, True), (exact, False))
    if fused is None:
        splits, inputs_per_split = _splits(_tiles(x, tables, factored), x.columns, factored, device)
    else:
        splits, inputs_per_split = fused.chunks_out, fused.tiles_out * fused.tile.BJ
    # Parts of the inputs, each of all sets: whatever of it is summed is summed in this order.
    parts = splits * of_sets // z.numel()
    partial = fused.dx if fused is not None else _partial_sums(z, parts) if parts > 1 else None
    split_z, split_bias = (z, bias) if partial is None else (partial, None)
    if exact.BB < LEAST_ROWS_OF_PRODUCT:
        launches = ()
        launch_few_rows(x, tables, split_bias, split_z, functions, exact, splits, inputs_per_split)
    for tile, is_factored in launches:
        product_kernel[(_tiles(x, tables, tile), splits)](
            x.high,
            x.low,
            tables.inputs,
            tables.outputs,
            *_factor_arguments(factors, z),
            z if split_bias is None else split_bias,
            split_z,
            x.batch,
            x.columns,
            tables.size_out,
            inputs_per_split,
            ceil_div(tables.size_out, tile.BO),
            tables.sets,
            x.set_stride,
            x.stride,
            tables.set_stride,
            tables.stride,
            0 if factors is None else factors.set_stride,
            0 if factors is None else factors.blocks,
            0 if split_bias is None else set_stride(split_bias, 1),
            of_sets,
            n=tables.n,
            d=tables.d,
            VALUE=functions.value,
            FACTORED=is_factored,
            CHOOSES=factors is not None,
            SHARES_EXPONENTIALS=is_factored and shares_exponentials(device.family, tile),
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
    if partial is not None:
        sum_splits_kernel[(ceil_div(z.numel(), SUM_BLOCK),)](
            split_z,
            z if bias is None else bias,
            z,
            parts,
            z.numel(),
            x.batch * tables.size_out,
            tables.size_out,
            0 if bias is None else set_stride(bias, 1),
            HAS_BIAS=bias is not None,
            BLOCK=SUM_BLOCK,
            num_warps=4,
        )
    return z


def _tiles(x: Rows, tables: ParticleTables, tile: ProductTile) -> int:
    """Tiles of z of all sets."""
    return tables.sets * ceil_div(tables.size_out, tile.BO) * ceil_div(x.batch, tile.BB)


def _factor_arguments(factors: Factors | None, unread: Any) -> tuple[Any, ...]:
    """What `forward.product_kernel` takes of the factors."""
    if factors is None:
        return (unread,) * 5
    left, right = factors.outputs, factors.inputs
    return left.left_exponents, right.right_exponents, left.left_dipoles, right.right_dipoles, factors.is_far


def _tables_of(particles: Particles, sets: int, functions: PairwiseFunctions, arithmetic: str) -> Kept:
    """The tables of a layer, with the factors of its weights where they are not made from differences."""
    tables = make_tables(*particles, functions.position_scale, sets)
    few = tables.n <= MOST_POSITION_COMPONENTS and tables.d <= MOST_DIPOLE_COMPONENTS
    large = tables.sets * tables.size_in * tables.size_out >= LEAST_FACTORED_WEIGHTS
    can_be = arithmetic == "16-bit" and functions.derivative_is_minus_value and few and large
    factored = can_be and device_of(tables.inputs).family in FACTORED_PRODUCT_TILES
    return Kept(tables, make_factors(tables) if factored else None)


def _splits(tiles: int, inputs: int, tile: ProductTile, device: Device) -> tuple[int, int]:
    """Into how many parts the inputs are split, and how many of them a part has, to fill the device."""
    steps = ceil_div(inputs, tile.BK)
    wanted = tile.programs * device.multiprocessors // tiles
    splits = max(1, min(wanted, steps // MIN_STEPS_OF_SPLIT))
    steps_per_split = ceil_div(steps, splits)
    return ceil_div(steps, steps_per_split), steps_per_split * tile.BK


def _partial_sums(z: Any, parts: int) -> Any:
    dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
    return torch.empty((parts, *z.shape), dtype=dtype, device=z.device)


def _arithmetic(x: Any, r_in: Any, input_precision: str | None) -> str:
    """How the products of x are computed, as `tiles` names it."""
    if input_precision not in (None, *PRECISIONS):
        raise ValueError(f"input_precision: got {input_precision!r}, want None or one of {', '.join(PRECISIONS)}")
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
