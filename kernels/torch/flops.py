"""Floating-point operations of the operators, registered with `torch.utils.flop_counter` on import.

As there, a multiply-add counts as two; k(s) counts as one. Of the Mehler method the terms in B and in P are counted.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pn_gpu.kernels.mehler.packing import unpack
from pn_gpu.kernels.torch import compute, library, weight  # noqa: F401  (they define the operators)

Shape = tuple[int, ...]


def _weights(r_in: Shape, v_in: Shape, r_out: Shape) -> tuple[int, int, int]:
    """The number of weights, what it takes to make one, and what to pull a gradient of one back to its particles."""
    n, d = r_in[1], v_in[1]
    # n differences, n squares and their sum, the product of two dipoles, k(s), and times that.
    make = 3 * n + 2 * d
    # Times k for the dipoles, 2 (v . v) k' for the positions; then multiply-adds with v, and with r_i - r_j, twice.
    return r_in[0] * r_out[0], make, 4 + 4 * d + 3 * n


@register_flop_formula(torch.ops.pn_gpu.particle_linear)
def direct_forward(x: Shape, r_in: Shape, v_in: Shape, r_out: Shape, *rest: Any, **kwargs: Any) -> int:
    count, make, _ = _weights(r_in, v_in, r_out)
    return count * (make + 2 * math.prod(x[:-1]))


@register_flop_formula(torch.ops.pn_gpu.particle_linear_backward)
def direct_backward(dz: Shape, x: Shape, r_in: Shape, v_in: Shape, r_out: Shape, *rest: Any, **kwargs: Any) -> int:
    *_, need_dx, need_particles, _ = rest
    count, make, pull_back = _weights(r_in, v_in, r_out)
    product = 2 * math.prod(x[:-1])
    if not (need_dx or need_particles):
        return 0
    return count * (make + need_dx * product + need_particles * (product + pull_back))


@register_flop_formula(torch.ops.pn_gpu.dense_weight)
def weight_forward(r_in: Shape, v_in: Shape, r_out: Shape, *rest: Any, **kwargs: Any) -> int:
    count, make, _ = _weights(r_in, v_in, r_out)
    return count * make


@register_flop_formula(torch.ops.pn_gpu.dense_weight_backward)
def weight_backward(dw: Shape, r_in: Shape, v_in: Shape, r_out: Shape, *rest: Any, **kwargs: Any) -> int:
    count, make, pull_back = _weights(r_in, v_in, r_out)
    return count * (make + pull_back)


class _Expanded:
    """A layer by the Mehler method: its rows R, and what features and exact weights of all particles take."""

    def __init__(self, x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, packed: Tensor) -> None:
        approximation = unpack(compute.view(packed.cpu()))
        features, (n, d) = approximation.expansion.num_features, (r_in.shape[1], v_in.shape[1])
        left_out_in, left_out_out = len(approximation.left_out_in), len(approximation.left_out_out)
        self.num_in, self.num_out = r_in.shape[0], r_out.shape[0]
        self.product = 2 * math.prod(x.shape[:-1]) * (d * features + left_out_in + left_out_out)
        exact = self.num_in * left_out_out + self.num_out * left_out_in
        _, make, pull_back = _weights(r_in.shape, v_in.shape, r_out.shape)
        both = self.num_in + self.num_out
        self.make = both * features * (n + d) + exact * make
        self.pull_back = both * features * (4 * d + 2 * n) + exact * pull_back


@register_flop_formula(torch.ops.pn_gpu.mehler_linear, get_raw=True)
def mehler_forward(x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, *rest: Any, **kwargs: Any) -> int:
    layer = _Expanded(x, r_in, v_in, r_out, rest[-1])
    return layer.make + layer.product * (layer.num_in + layer.num_out)


@register_flop_formula(torch.ops.pn_gpu.mehler_linear_backward, get_raw=True)
def mehler_backward(dz: Tensor, x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, *rest: Any, **kwargs: Any) -> int:
    """dY and dx; for the particles x A and the gradients of both factors' rows."""
    _, packed, need_dx, need_particles, _ = rest
    if not (need_dx or need_particles):
        return 0
    layer = _Expanded(x, r_in, v_in, r_out, packed)
    rows_in, rows_out = layer.product * layer.num_in, layer.product * layer.num_out
    of_particles = 2 * rows_in + rows_out + layer.pull_back
    return layer.make + rows_out + need_dx * rows_in + need_particles * of_particles
