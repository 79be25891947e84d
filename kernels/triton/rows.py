"""x and dz as the kernels read them: aligned rows of contiguous elements, split in halves where asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from pn_gpu.kernels.integers import ceil_div
from pn_gpu.kernels.triton.sets import set_stride

# Readable columns come in multiples of this: every load is then a whole 16-byte vector.
VECTOR = 16
# A copy is padded with zeros to a multiple of the longest step of the product over its inputs.
PADDING = 64


@dataclass(frozen=True)
class Rows:
    """A matrix [B, columns], or one for every set, of aligned rows; columns past the original ones are zero."""

    high: Any
    # What rounding to bfloat16 left of the matrix, and its inf and NaN; ``high`` itself where it is not split.
    low: Any
    columns: int

    @property
    def batch(self) -> int:
        return self.high.shape[-2]

    @property
    def set_stride(self) -> int:
        return set_stride(self.high)

    @property
    def stride(self) -> int:
        return self.high.stride(-2)


@triton.jit
def copy_rows_kernel(
    source,  # [S, B, N], any strides
    high,  # [S, B, columns]
    low,  # [S, B, columns], with SPLIT
    batch,
    size,
    columns,
    stride_set,
    stride_row,
    stride_column,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of one row, padded with zeros; with SPLIT its bfloat16 halves.

    Both halves of a weight meet the high half of x, and of an infinity they would make inf - inf: it is in the low one,
    which meets the high half of a weight alone.
    """
    i_row = tl.program_id(0).to(tl.int64)
    o_column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    source += (i_row // batch) * stride_set + (i_row % batch) * stride_row
    value = tl.load(source + o_column.to(tl.int64) * stride_column, mask=o_column < size, other=0.0)
    o_copy = i_row * columns + o_column
    m_copy = o_column < columns
    rounded = value.to(high.dtype.element_ty)
    if SPLIT:
        wide = rounded.to(tl.float32)
        m_finite = tl.abs(wide) < float("inf")
        tl.store(high + o_copy, tl.where(m_finite, wide, 0.0).to(high.dtype.element_ty), mask=m_copy)
        left = tl.where(m_finite, value - wide, wide)
        tl.store(low + o_copy, left.to(low.dtype.element_ty), mask=m_copy)
    else:
        tl.store(high + o_copy, rounded, mask=m_copy)


def aligned_rows(matrix: Any, split: bool = False) -> Rows:
    """``matrix`` [B, N], or [S, B, N], itself where its rows are aligned and of whole vectors, else a padded copy.

    With ``split`` the copy is two bfloat16 matrices whose sum is ``matrix`` to 16 bits.
    """
    batch, size = matrix.shape[-2:]
    if matrix.numel() == 0 or (not split and _is_aligned(matrix)):
        return Rows(matrix, matrix, size)
    columns = (size + PADDING - 1) // PADDING * PADDING
    # Sets that share their rows share the copy.
    sets = matrix.shape[:-2] if set_stride(matrix) else (1,) * (matrix.ndim - 2)
    dtype = torch.bfloat16 if split else matrix.dtype
    high = torch.empty((*sets, batch, columns), dtype=dtype, device=matrix.device)
    low = torch.empty_like(high) if split else high
    block = min(1024, triton.next_power_of_2(columns))
    copy_rows_kernel[(math.prod(sets) * batch, ceil_div(columns, block))](
        matrix, high, low, batch, size, columns, set_stride(matrix), *matrix.stride()[-2:], SPLIT=split, BLOCK=block,
        num_warps=4,
    )  # fmt: skip
    return Rows(high, low, columns)


def _is_aligned(matrix: Any) -> bool:
    return (
        matrix.stride(-1) == 1
        and matrix.shape[-1] % VECTOR == 0
        and matrix.stride(-2) % VECTOR == 0
        and matrix.stride(-2) >= matrix.shape[-1]
        and set_stride(matrix) % VECTOR == 0
        and matrix.data_ptr() % 16 == 0
    )
