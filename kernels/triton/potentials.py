"""The pairwise functions k(s) and k'(s) in Triton, by the name of their `Potential`.

Every function takes a block of ``s = (position_scale |r_i - r_j|)^2``. The scale is 1 but for the Gaussian, whose
positions are stored times sqrt(log2 e): then exp(-|r_i - r_j|^2) is one base-2 exponential and no multiplication.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import triton
import triton.language as tl

from pn_gpu.kernels.potentials import Potential

LOG2_E = tl.constexpr(math.log2(math.e))


class PairwiseFunctions(NamedTuple):
    """What the kernels need to know of a potential."""

    value: Any  # @triton.jit, k of a block of s
    derivative: Any  # @triton.jit, dk / d|r_i - r_j|^2 of a block of s
    position_scale: float
    smooth_at_zero: bool
    # Whether k' = -k, so that one matrix carries the gradients of positions and dipoles.
    derivative_is_minus_value: bool


@triton.jit
def gaussian(s):
    # A product with -1 is folded into the exponential's operand; 0 - s is not.
    return tl.exp2(s * -1.0)


@triton.jit
def gaussian_derivative(s):
    return tl.exp2(s * -1.0) * -1.0


@triton.jit
def exponential(s):
    return tl.exp2(tl.sqrt(s) * (-1.0 * LOG2_E))


@triton.jit
def exponential_derivative(s):
    inverse = inverse_root(tl.where(s <= 0, 1.0, s))
    return tl.where(s <= 0, 0.0, tl.exp2(s * inverse * (-1.0 * LOG2_E)) * inverse * -0.5)


@triton.jit
def inverse_root(a):
    """a^(-1/2): one instruction in float32, exactly rounded steps in float64."""
    if a.dtype == tl.float64:
        root = 1.0 / tl.sqrt(a)
    else:
        root = tl.rsqrt(a)
    return root


@triton.jit
def lorentzian(s):
    # A division takes four times the instructions of a reciprocal root and its square.
    root = inverse_root(1.0 + s)
    return root * root


@triton.jit
def lorentzian_derivative(s):
    k = lorentzian(s)
    return k * k * -1.0


@triton.jit
def inverse_multiquadric(s):
    return inverse_root(1.0 + s)


@triton.jit
def inverse_multiquadric_derivative(s):
    k = inverse_multiquadric(s)
    return k * k * k * -0.5


@triton.jit
def gap_to_one(s):
    """max(0, 1 - sqrt s); NaN stays NaN."""
    return tl.maximum(1.0 - tl.sqrt(s), 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def triangle(s):
    return gap_to_one(s)


@triton.jit
def triangle_derivative(s):
    outside = (s <= 0) | (s >= 1)
    return tl.where(outside, 0.0, inverse_root(tl.where(outside, 1.0, s)) * -0.5)


@triton.jit
def wendland_c2(s):
    gap = gap_to_one(s)
    square = gap * gap
    # 4 sqrt s + 1 = 5 - 4 (1 - sqrt s) wherever the rest is not 0.
    return square * square * (5.0 - 4.0 * gap)


@triton.jit
def wendland_c2_derivative(s):
    gap = gap_to_one(s)
    return gap * gap * gap * -10.0


BUILT_IN = {
    "gaussian": PairwiseFunctions(gaussian, gaussian_derivative, math.sqrt(math.log2(math.e)), True, True),
    "exponential": PairwiseFunctions(exponential, exponential_derivative, 1.0, False, False),
    "lorentzian": PairwiseFunctions(lorentzian, lorentzian_derivative, 1.0, True, False),
    "inverse_multiquadric": PairwiseFunctions(inverse_multiquadric, inverse_multiquadric_derivative, 1.0, True, False),
    "triangle": PairwiseFunctions(triangle, triangle_derivative, 1.0, False, False),
    "wendland_c2": PairwiseFunctions(wendland_c2, wendland_c2_derivative, 1.0, True, False),
}


def pairwise_functions(potential: Potential) -> PairwiseFunctions:
    """The Triton functions of a potential: its own where it carries them, else the built-in ones of its name.

    Raises
    ------
    ValueError
        If there are neither.
    """
    if potential.triton_value is not None and potential.triton_derivative is not None:
        return PairwiseFunctions(
            potential.triton_value, potential.triton_derivative, 1.0, potential.smooth_at_zero, False
        )
    if potential.name not in BUILT_IN:
        raise ValueError(
            f"potential: {potential.name!r} has no Triton functions; give its Potential triton_value and "
            "triton_derivative (@triton.jit functions of a block of squared distances), or use CPU tensors"
        )
    return BUILT_IN[potential.name]
