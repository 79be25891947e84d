"""The operator as torch computes it with a stored W, in any dtype: the errors that a kernel is measured against."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pn_gpu.kernels.room import Particles
from support import oracle


class Call:
    """Tensors of one call and the oracle's case for exactly their (rounded) values."""

    def __init__(self, case: oracle.Case, dtype: torch.dtype, device: str = "cpu") -> None:
        particles = torch.float64 if dtype == torch.float64 else torch.float32

        def tensor(a: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
            return torch.as_tensor(a, dtype=torch.float64).to(device=device, dtype=dtype)

        self.x, self.dz = tensor(case.x, dtype), tensor(case.dz, dtype)
        self.particles = Particles(*(tensor(a, particles) for a in case.particles))
        self.bias = tensor(case.bias, particles)
        self.case = oracle.Case(*(to_numpy(a) for a in (self.x, *self.particles, self.bias, self.dz)))

    def forward_error(self, z: torch.Tensor, potential: str) -> float:
        """Scaled error of z."""
        want, scale = oracle.forward(self.case, potential), oracle.forward_scale(self.case, potential)
        return oracle.scaled_error(to_numpy(z), want, scale)

    def backward_errors(self, gradient: Any, potential: str) -> dict[str, float]:
        """Scaled error of every gradient that is not None."""
        want, scale = oracle.backward(self.case, potential), oracle.backward_scale(self.case, potential)
        return {
            name: oracle.scaled_error(to_numpy(got), getattr(want, name), getattr(scale, name))
            for name, got in gradient._asdict().items()
            if got is not None
        }

    def dense_forward_error(self, potential: str) -> float:
        """The error of torch's own product on a stored W of the dtype of x."""
        w = self._stored_weight(potential)
        return self.forward_error(self.x @ w + self.bias.to(self.x.dtype), potential)

    def dense_backward_errors(self, potential: str) -> dict[str, float]:
        """The errors of torch's own products: dx on a stored W, and a stored G = x^T dz of the dtype of x."""
        g = to_numpy(self.x.T @ self.dz)
        _, r_in, v_in, r_out, v_out, _, dz = self.case
        difference = r_in[:, None, :] - r_out[None, :, :]
        k, slope = (function((difference**2).sum(axis=2)) for function in oracle.POTENTIALS[potential])
        pull = 2 * (g * (v_in @ v_out.T) * slope)[:, :, None] * difference
        got = oracle.Gradients(
            to_numpy(self.dz @ self._stored_weight(potential).T),
            pull.sum(axis=1),
            (g * k) @ v_out,
            -pull.sum(axis=0),
            (g * k).T @ v_in,
            dz.sum(axis=0),
        )
        return self.backward_errors(got, potential)

    def _stored_weight(self, potential: str) -> torch.Tensor:
        return torch.as_tensor(oracle.weight(self.case, potential)).to(self.x)


def to_numpy(a: Any) -> np.ndarray:
    return a.detach().to("cpu", torch.float64).numpy() if isinstance(a, torch.Tensor) else np.asarray(a)
