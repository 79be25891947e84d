"""Particle tables: both node sets as the kernels read them.

For every set an array [n + d, N' + M'] holds positions, then dipoles, by component (structure of arrays); the columns
of the input particles are followed by those of the output particles, and both are padded with particles of zero
dipole, whose weights are 0, so that no kernel masks a particle. Positions are taken from a common centre (differences
alone count, and near the origin they round least) and multiplied by the potential's scale.

The centre is the mean of up to `SAMPLES` particles of each set, so every program finds it alone and in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
import triton.language as tl

from pn_gpu.kernels.triton.sets import set_stride

# Padding of each node set: a multiple of every tile size.
PADDING = 256
SAMPLES = tl.constexpr(128)
BLOCK = 128


@dataclass(frozen=True)
class ParticleTables:
    """The particle table of two node sets, seen from an input and an output side."""

    inputs: Any  # [S, n + d, N' + ...], from the first input particle on
    outputs: Any  # [S, n + d, M' + ...], from the first output particle on
    n: int
    d: int
    size_in: int
    size_out: int
    padded_in: int
    padded_out: int
    position_scale: float

    @property
    def sets(self) -> int:
        return self.inputs.shape[0]

    @property
    def set_stride(self) -> int:
        return self.inputs.stride(0)

    @property
    def stride(self) -> int:
        return self.inputs.stride(1)

    def exchanged(self) -> ParticleTables:
        """The same table with the two sides exchanged."""
        return replace(
            self,
            inputs=self.outputs,
            outputs=self.inputs,
            size_in=self.size_out,
            size_out=self.size_in,
            padded_in=self.padded_out,
            padded_out=self.padded_in,
        )


@triton.jit
def sample_sum(r, stride_r, size):
    """Sum of one position component over up to SAMPLES particles spread over the set; NaN and inf are left out."""
    o_sample = tl.arange(0, SAMPLES)
    o_particle = (o_sample.to(tl.int64) * size) // SAMPLES
    m_repeated = (o_sample > 0) & (o_particle == ((o_sample - 1).to(tl.int64) * size) // SAMPLES)
    m_first = (o_particle < size) & ~m_repeated
    value = tl.load(r + o_particle * stride_r, mask=m_first, other=0.0)
    m_finite = m_first & (tl.abs(value) < float("inf"))
    return tl.sum(tl.where(m_finite, value, 0.0)), tl.sum(m_finite.to(value.dtype))


@triton.jit
def particle_table_kernel(
    table,
    r_in,
    v_in,
    r_out,
    v_out,
    size_in,
    size_out,
    padded_in,
    blocks,  # of a set
    stride_table_set,
    stride_table,
    stride_r_in_set,
    stride_r_in,
    stride_r_in_component,
    stride_v_in_set,
    stride_v_in,
    stride_v_in_component,
    stride_r_out_set,
    stride_r_out,
    stride_r_out_component,
    stride_v_out_set,
    stride_v_out,
    stride_v_out_component,
    SCALE: tl.constexpr,  # an argument would be rounded to float32
    n: tl.constexpr,
    d: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of columns of the table of one set."""
    i_block, i_set = tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)
    table += i_set * stride_table_set
    r_in += i_set * stride_r_in_set
    v_in += i_set * stride_v_in_set
    r_out += i_set * stride_r_out_set
    v_out += i_set * stride_v_out_set
    o_column = i_block * BLOCK + tl.arange(0, BLOCK)
    o_in = o_column.to(tl.int64)
    o_out = o_in - padded_in
    m_in = o_in < size_in
    m_out = (o_out >= 0) & (o_out < size_out)
    for c in tl.range(0, n):
        component_in = r_in + c * stride_r_in_component
        component_out = r_out + c * stride_r_out_component
        sum_in, count_in = sample_sum(component_in, stride_r_in, size_in)
        sum_out, count_out = sample_sum(component_out, stride_r_out, size_out)
        centre = (sum_in + sum_out) / tl.maximum(count_in + count_out, 1.0)
        position = tl.load(component_in + o_in * stride_r_in, mask=m_in, other=0.0)
        position += tl.load(component_out + o_out * stride_r_out, mask=m_out, other=0.0)
        position = tl.where(m_in | m_out, (position - centre) * SCALE, 0.0)
        tl.store(table + c * stride_table + o_column, position)
    for c in tl.range(0, d):
        dipole = tl.load(v_in + c * stride_v_in_component + o_in * stride_v_in, mask=m_in, other=0.0)
        dipole += tl.load(v_out + c * stride_v_out_component + o_out * stride_v_out, mask=m_out, other=0.0)
        tl.store(table + (n + c) * stride_table + o_column, dipole)


def make_tables(r_in: Any, v_in: Any, r_out: Any, v_out: Any, position_scale: float, sets: int = 1) -> ParticleTables:
    """The particle table of r_in [N, n], v_in [N, d], r_out [M, n], v_out [M, d] of every set, in their dtype."""
    (size_in, n), (size_out, d) = r_in.shape[-2:], v_out.shape[-2:]
    padded_in, padded_out = _padded(size_in), _padded(size_out)
    blocks = (padded_in + padded_out) // BLOCK
    table = torch.empty((sets, n + d, padded_in + padded_out), dtype=r_in.dtype, device=r_in.device)
    particle_table_kernel[(sets * blocks,)](
        table,
        r_in,
        v_in,
        r_out,
        v_out,
        size_in,
        size_out,
        padded_in,
        blocks,
        *table.stride()[:2],
        *_strides(r_in),
        *_strides(v_in),
        *_strides(r_out),
        *_strides(v_out),
        SCALE=position_scale,
        n=n,
        d=d,
        BLOCK=BLOCK,
        num_warps=4,
    )
    return ParticleTables(table, table[..., padded_in:], n, d, size_in, size_out, padded_in, padded_out, position_scale)


def _strides(a: Any) -> tuple[int, int, int]:
    return set_stride(a), *a.stride()[-2:]


def _padded(size: int) -> int:
    return (size + PADDING - 1) // PADDING * PADDING
