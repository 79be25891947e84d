"""The same expansion as anyone would write it in torch: features, two products, gradients by autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pn_gpu.kernels.mehler import Expansion

Array = np.ndarray


def make_step(
    x: Array, particles: tuple[Array, ...], bias: Array, dz: Array, expansion: Expansion
) -> Callable[[], list[Any]] | str:
    """A training step that returns z and the gradients of x, the particles and the bias; or why there is none.

    It computes every particle by the expansion, those too that pn_gpu computes exactly.
    """
    try:
        import torch
    except ImportError as error:
        return f"torch is not installed ({error})"
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, *particles, bias)]
    upstream = torch.from_numpy(dz)

    def step() -> list[Any]:
        x, r_in, v_in, r_out, v_out, bias = leaves
        z = (x @ _factor(r_in, v_in, expansion)) @ _factor(r_out, v_out, expansion).T + bias
        return [z, *torch.autograd.grad(z, leaves, upstream)]

    return step


def _factor(r: Any, v: Any, expansion: Expansion) -> Any:
    """A [N, d P]: v_d Phi_a."""
    return (v[:, :, None] * _features(r, expansion)[:, None, :]).flatten(1)


def _features(r: Any, expansion: Expansion) -> Any:
    """Phi [N, P]."""
    import torch

    centre, rotation = (torch.as_tensor(a, dtype=r.dtype) for a in (expansion.centre, expansion.rotation))
    u = (r - centre) @ rotation
    product = None
    for axis, rate in enumerate(expansion.rates.tolist()):
        f = _hermite(u[:, axis], rate, expansion.lengths[axis])[:, expansion.degrees[:, axis]]
        product = f if product is None else product * f
    return product


def _hermite(u: Any, t: float, length: int) -> Any:
    """f_k(u): [N, K]."""
    import torch

    f = [(1 - t * t) ** 0.25 * torch.exp((t - 1) * u * u)]
    for k in range(length - 1):
        following = math.sqrt(2 * (1 - t * t) / (k + 1)) * u * f[k]
        f.append(following - t * math.sqrt(k / (k + 1)) * f[k - 1] if k > 0 else following)
    return torch.stack(f, dim=1)
