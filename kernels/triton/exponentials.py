"""Powers of two, a quarter of them by multiply-adds.

A multiprocessor makes 16 exponentials a clock and 128 multiply-adds. Where little else is to be done for a weight, the
unit for exponentials is what it waits for; so every fourth group of eight columns of a tile takes a polynomial
instead, as in FlashAttention-4 (2026). Which group a number is in is known when the kernel is compiled, as a thread
holds columns of all four at fixed registers: none is computed in both ways.

What decides is the larger of MUFU instructions / 16 and all instructions / 128 per weight, `tiles.shares_exponentials`.
"""

import triton
import triton.language as tl

# 2^f for |f| <= 1/2 by a cubic of least relative error, 7.5e-5. Rounding to float16 errs by up to 4.9e-4.
CONSTANT, LINEAR, SQUARE, CUBE = (
    tl.constexpr(c) for c in (0.9999280571937561, 0.6932610273361206, 0.24261116981506348, 0.0551714189350605)
)
POLYNOMIAL_ERROR = 7.6e-5
# Added to a float32 of size below 2^22 it leaves the nearest whole number in the low bits.
ROUNDING = tl.constexpr(1.5 * 2**23)
# 2 to a smaller power is no normal float32.
SMALLEST_EXPONENT = tl.constexpr(-125.0)
MANTISSA_BITS = tl.constexpr(23)
# Bits of a column's number, all set in every fourth group of eight.
FOURTH = tl.constexpr(24)


@triton.jit
def exp2_by_multiply_adds(t):
    """2^t for finite t < 127, and 2^-125 or so for all that is smaller."""
    t = tl.maximum(t, SMALLEST_EXPONENT)
    rounded = t + ROUNDING
    f = t - (rounded - ROUNDING)
    power = ((CUBE * f + SQUARE) * f + LINEAR) * f + CONSTANT
    exponent = rounded.to(tl.int32, bitcast=True) << MANTISSA_BITS
    return (power.to(tl.int32, bitcast=True) + exponent).to(tl.float32, bitcast=True)


@triton.jit
def shared_exp2(t, o_columns):
    """2^t of a tile [BR, BC] whose columns are ``o_columns``, a whole multiple of 32."""
    m_fourth = ((o_columns & FOURTH) == FOURTH)[None, :]
    return tl.where(m_fourth, exp2_by_multiply_adds(t), tl.exp2(t))
