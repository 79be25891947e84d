"""Exponents and dipole products of the Gaussian as products of small factors, for the tensor cores.

With positions r scaled so that k = 2^-s, an exponent is a product of 3 n + 4 numbers for each particle,

    -s_ij = 2 r_i . r_j - |r_i|^2 - |r_j|^2 = [2h, 2h, 2l, -n1, -n2, 1, 1]_i . [h, l, h, 1, 1, -n1, -n2]_j,

where h and l are the two float16 halves of a position and n1, n2 those of |h + l|^2. Likewise v_i . v_j is the product
[h, h, l]_i . [h, l, h]_j of the bfloat16 halves of the dipoles. Either takes one step of 16, for n <= 4 and d <= 5.

What is left out, l_i . l_j, and what rounds (halves have 22 bits, sums 24) grows with the square of the cloud's radius
R, in scaled units about the centre: |error of s| <= `EXPONENT_ERROR` R^2, and k errs by ln 2 times that, relatively.
Beyond `FARTHEST`, where that would come near to the rounding of a float16 weight, the exact differences of `weights`
serve. A device decides by itself, from a flag that each block of particles sets: nobody waits for it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from pn_gpu.kernels.triton.tables import BLOCK, ParticleTables

# Numbers in a factor: one step of the tensor cores over 16-bit numbers.
WIDTH = tl.constexpr(16)
MOST_POSITION_COMPONENTS, MOST_DIPOLE_COMPONENTS = 4, 5
# Bound of |error of s| / R^2.
EXPONENT_ERROR = 2.0**-18
# R^2 up to which factors serve: k then errs by 1.7e-4 at most, where a float16 weight rounds by 2.4e-4.
FARTHEST = tl.constexpr(64.0)
# bfloat16 holds no more; the halves of infinities would be inf - inf.
LARGEST_DIPOLE = tl.constexpr(3e38)
FLAGS_AT_ONCE = tl.constexpr(256)


class SideFactors(NamedTuple):
    """Factors of the particles of one side, from its first particle on."""

    left_exponents: Any  # [S, N', WIDTH] float16
    right_exponents: Any
    left_dipoles: Any  # [S, N', WIDTH] bfloat16
    right_dipoles: Any


class Factors(NamedTuple):
    """Factors of the particles of both sides."""

    inputs: SideFactors
    outputs: SideFactors
    is_far: Any  # [S, blocks], 1 where a particle of the block is too far out for factors

    @property
    def set_stride(self) -> int:
        return self.inputs.left_exponents.stride(0)

    @property
    def blocks(self) -> int:
        """Flags of a set."""
        return self.is_far.shape[1]

    def exchanged(self) -> Factors:
        """The same factors with the two sides exchanged."""
        return Factors(self.outputs, self.inputs, self.is_far)


@triton.jit
def put(factor, number, o_number, NUMBER: tl.constexpr):
    """``factor`` [BLOCK, WIDTH] with its column NUMBER filled with ``number`` [BLOCK]."""
    return tl.where(o_number[None, :] == NUMBER, number[:, None], factor)


@triton.jit
def put_three(factor, first, second, third, o_number, NUMBER: tl.constexpr):
    """``factor`` with three neighbouring columns filled."""
    factor = put(put(factor, first, o_number, NUMBER), second, o_number, NUMBER + 1)
    return put(factor, third, o_number, NUMBER + 2)


@triton.jit
def halves(a, DTYPE: tl.constexpr):
    """``a`` rounded to DTYPE, and what is left of it, rounded likewise, in float32."""
    high = a.to(DTYPE).to(tl.float32)
    return high, (a - high).to(DTYPE).to(tl.float32)


@triton.jit
def factor_kernel(
    exponents,  # [2, S, N' + M', WIDTH] float16
    dipoles,  # [2, S, N' + M', WIDTH] bfloat16
    is_far,  # [S, blocks]
    table,  # [S, n + d, N' + M'], particle tables
    particles,  # of all sets
    blocks,  # of a set
    stride_table_set,
    stride_table,
    n: tl.constexpr,
    d: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Factors of one block of particles, and whether one of them is far out or not finite."""
    i_block = tl.program_id(0)
    table += (i_block // blocks).to(tl.int64) * stride_table_set
    o_particle = i_block % blocks * BLOCK + tl.arange(0, BLOCK)
    o_number = tl.arange(0, WIDTH)
    o_factor = (i_block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK))[:, None] * WIDTH + o_number[None, :]
    right_side = tl.cast(particles, tl.int64) * WIDTH
    square = tl.zeros([BLOCK], tl.float32)
    left = tl.zeros([BLOCK, WIDTH], tl.float32)
    right = tl.zeros([BLOCK, WIDTH], tl.float32)
    for c in tl.static_range(n):
        high, low = halves(tl.load(table + c * stride_table + o_particle), tl.float16)
        square += (high + low) * (high + low)
        left = put_three(left, 2.0 * high, 2.0 * high, 2.0 * low, o_number, 3 * c)
        right = put_three(right, high, low, high, o_number, 3 * c)
    high, low = halves(square * -1.0, tl.float16)
    one = tl.full([BLOCK], 1.0, tl.float32)
    left = put(put(left, high, o_number, 3 * n), low, o_number, 3 * n + 1)
    left = put(put(left, one, o_number, 3 * n + 2), one, o_number, 3 * n + 3)
    right = put(put(right, one, o_number, 3 * n), one, o_number, 3 * n + 1)
    right = put(put(right, high, o_number, 3 * n + 2), low, o_number, 3 * n + 3)
    tl.store(exponents + o_factor, left.to(tl.float16))
    tl.store(exponents + right_side + o_factor, right.to(tl.float16))
    # NaN is not near.
    is_near = square <= FARTHEST
    left = tl.zeros([BLOCK, WIDTH], tl.float32)
    right = tl.zeros([BLOCK, WIDTH], tl.float32)
    for c in tl.static_range(d):
        dipole = tl.load(table + (n + c) * stride_table + o_particle)
        is_near &= tl.abs(dipole) <= LARGEST_DIPOLE
        high, low = halves(dipole, tl.bfloat16)
        left = put_three(left, high, high, low, o_number, 3 * c)
        right = put_three(right, high, low, high, o_number, 3 * c)
    tl.store(dipoles + o_factor, left.to(tl.bfloat16))
    tl.store(dipoles + right_side + o_factor, right.to(tl.bfloat16))
    tl.store(is_far + i_block, 1 - tl.min(is_near.to(tl.int32), axis=0))


@triton.jit
def any_far(is_far, blocks):
    """Whether a block of particles is far out, from the flags of all blocks of a set."""
    o_block = tl.arange(0, FLAGS_AT_ONCE)
    far = tl.zeros([FLAGS_AT_ONCE], tl.int32)
    for block in tl.range(0, blocks, FLAGS_AT_ONCE):
        far |= tl.load(is_far + block + o_block, mask=o_block < blocks - block, other=0)
    return tl.max(far, axis=0) > 0


@triton.jit
def load_factors(factors, o_particle):
    """Factors [BLOCK, WIDTH] of the particles ``o_particle``."""
    return tl.load(factors + o_particle[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :])


@triton.jit
def factor_products(left, right):
    """The products of left factors [BR, WIDTH] and right factors [BC, WIDTH]: [BR, BC]."""
    return tl.dot(left, tl.trans(right), input_precision="ieee")


def make_factors(tables: ParticleTables) -> Factors:
    """The factors of all particles of the tables, of at most 4 position and 5 dipole components."""
    particles = tables.padded_in + tables.padded_out
    device = tables.inputs.device
    exponents = torch.empty((2, tables.sets, particles, WIDTH.value), dtype=torch.float16, device=device)
    dipoles = torch.empty((2, tables.sets, particles, WIDTH.value), dtype=torch.bfloat16, device=device)
    is_far = torch.empty((tables.sets, particles // BLOCK), dtype=torch.int32, device=device)
    factor_kernel[(is_far.numel(),)](
        exponents, dipoles, is_far, tables.inputs, tables.sets * particles, is_far.shape[1], tables.set_stride,
        tables.stride, n=tables.n, d=tables.d, BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    first_out = tables.padded_in
    inputs = SideFactors(*exponents, *dipoles)
    return Factors(inputs, SideFactors(*(factors[:, first_out:] for factors in inputs)), is_far)
