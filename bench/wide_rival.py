"""The same expansion as anyone would write it in torch: features and two products, for autograd to differentiate."""

from __future__ import annotations

import math
from typing import Any

from pn_gpu.kernels.mehler import Expansion

Tensor = Any


def linear(
    x: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, bias: Tensor, expansion: Expansion
) -> Tensor:
    """z by the expansion for every particle, those too that pn_gpu computes exactly."""
    return (x @ _factor(r_in, v_in, expansion)) @ _factor(r_out, v_out, expansion).T + bias


def _factor(r: Tensor, v: Tensor, expansion: Expansion) -> Tensor:
    """A [N, d P]: v_d Phi_a."""
    return (v[:, :, None] * _features(r, expansion)[:, None, :]).flatten(1)


def _features(r: Tensor, expansion: Expansion) -> Tensor:
    """Phi [N, P]."""
    import torch

    centre, rotation = (torch.as_tensor(a, dtype=r.dtype) for a in (expansion.centre, expansion.rotation))
    u = (r - centre) @ rotation
    product = None
    for axis, rate in enumerate(expansion.rates.tolist()):
        f = _hermite(u[:, axis], rate, expansion.lengths[axis])[:, expansion.degrees[:, axis]]
        product = f if product is None else product * f
    return product


def _hermite(u: Tensor, t: float, length: int) -> Tensor:
    """f_k(u): [N, K]."""
    import torch

    f = [(1 - t * t) ** 0.25 * torch.exp((t - 1) * u * u)]
    for k in range(length - 1):
        following = math.sqrt(2 * (1 - t * t) / (k + 1)) * u * f[k]
        f.append(following - t * math.sqrt(k / (k + 1)) * f[k - 1] if k > 0 else following)
    return torch.stack(f, dim=1)
