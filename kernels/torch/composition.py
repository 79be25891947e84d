"""The Mehler method as a composition of operations that torch differentiates, for derivatives beyond the gradient.

It computes what `pn_gpu.kernels.mehler.forward` does, in O(N + M) memory: the features of a block of particles are made
again by every derivative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pn_gpu.kernels.mehler.expansion import Approximation, Array, Expansion
from pn_gpu.kernels.torch.recompute import forward_derivative, recomputed

# Features of a block of particles.
BLOCK_FEATURES = 1 << 18


def hessian_product(
    approximation: Approximation, need_dz: bool, need_rest: bool, dz: Tensor, x: Tensor, *rest: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The parts of H u that are wanted, in the order dz, x, r_in, v_in, r_out, v_out (see `second_order`).

    The arguments are dz [B, M], x [B, N] and the particles, then u likewise; its parts may be None.
    """
    linear = partial(particle_linear, approximation)
    point = dz, x, *rest[:4]
    u = [torch.zeros_like(p) if t is None else t for p, t in zip(point, rest[4:], strict=True)]

    if not need_rest:
        return forward_derivative(linear, point[1:], u[1:]), *(None,) * 5

    def gradient(dz: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
        z, pull_back = torch.func.vjp(linear, *arguments)
        return (z, *pull_back(dz))

    return torch.func.vjp(gradient, *point)[1](tuple(u))  # H is symmetric


def particle_linear(
    approximation: Approximation, x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor
) -> Tensor:
    """z [B, M] for x [B, N], without bias: (x A) C^T, and the exact weights of left-out particles."""
    expansion = approximation.expansion
    near_in, far_in = _parts(len(r_in), approximation.left_out_in, x.device)
    near_out, far_out = _parts(len(r_out), approximation.left_out_out, x.device)
    centre = _constant(expansion.centre, r_in)
    r_in, r_out = r_in - centre, r_out - centre
    far_outputs = r_out[far_out], v_out[far_out]
    far_inputs = x[:, far_in], r_in[far_in], v_in[far_in]

    height = max(1, BLOCK_FEATURES // expansion.num_features)
    elements = height * expansion.num_features
    inputs = zip(x[:, near_in].split(height, 1), r_in[near_in].split(height), v_in[near_in].split(height), strict=True)
    y, to_far = _total(recomputed(partial(_project, expansion), elements, *block, *far_outputs) for block in inputs)
    if len(far_in):
        to_far = to_far + far_inputs[0] @ _exact_weights(*far_inputs[1:], *far_outputs)
    outputs = zip(r_out[near_out].split(height), v_out[near_out].split(height), strict=True)
    z = [recomputed(partial(_expand, expansion), elements, *block, y, *far_inputs)[0] for block in outputs]
    return torch.cat([*z, to_far], 1)[:, torch.cat([near_out, far_out]).argsort()]


def _parts(length: int, left_out: Array, device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices of the particles within the expansion, and of those it leaves out."""
    near = np.setdiff1d(np.arange(length), left_out)
    return torch.as_tensor(near, device=device), torch.as_tensor(left_out, device=device)


def _total(blocks: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(sum(parts[1:], parts[0]) for parts in zip(*blocks, strict=True))


def _project(
    expansion: Expansion, x: Tensor, r: Tensor, v: Tensor, far_r: Tensor, far_v: Tensor
) -> tuple[Tensor, Tensor]:
    """x A [B, d P], and x W [B, K] of the left-out outputs, for a block of inputs."""
    return x @ _factor(expansion, r, v).T, x @ _exact_weights(r, v, far_r, far_v)


def _expand(
    expansion: Expansion, r: Tensor, v: Tensor, y: Tensor, far_x: Tensor, far_r: Tensor, far_v: Tensor
) -> tuple[Tensor]:
    """z [B, BM] of a block of outputs, from y = x A and the left-out inputs."""
    return (y @ _factor(expansion, r, v) + far_x @ _exact_weights(far_r, far_v, r, v),)


def _exact_weights(r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor) -> Tensor:
    return (v_in @ v_out.T) * (-(r_in[:, None, :] - r_out).square().sum(2)).exp()


def _factor(expansion: Expansion, r: Tensor, v: Tensor) -> Tensor:
    """v_d Phi_a of centred positions, d first: [d P, BN]."""
    return (v.T[:, None, :] * _features(expansion, r)).flatten(0, 1)


def _features(expansion: Expansion, r: Tensor) -> Tensor:
    """Phi_a of centred positions: [P, BN]."""
    t = expansion.rates[:, None]
    u = (r @ _constant(expansion.rotation, r)).T  # [n, BN]
    f = [_constant((1 - t * t) ** 0.25, r) * (_constant(t - 1, r) * u * u).exp()]
    for k in range(max(expansion.lengths) - 1):
        following = _constant(np.sqrt(2 * (1 - t * t) / (k + 1)), r) * u * f[k]
        f.append(following - _constant(t * math.sqrt(k / (k + 1)), r) * f[k - 1] if k else following)
    of_axes = torch.stack(f, 1)  # [n, K, BN]
    degrees = torch.as_tensor(expansion.degrees.T, device=r.device)  # [n, P]
    features = [of_axis[degree] for of_axis, degree in zip(of_axes, degrees, strict=True)]
    return math.prod(features[1:], start=features[0])


def _constant(values: Array, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)
