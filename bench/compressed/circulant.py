"""Circulant matrices through the Fourier transform (Cheng et al., An exploration of parameter redundancy, 2015)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from bench.compressed.family import he_std, normal


class CirculantLinear(nn.Module):
    """A sum of ``size`` circulant matrices, each behind random signs of the inputs; rows that are too many are cut."""

    signs: Tensor

    def __init__(self, num_in: int, num_out: int, size: int, gain: float, generator: Generator) -> None:
        super().__init__()
        self.num_out, self.length = num_out, max(num_in, num_out)
        self.kernels = normal(size, self.length, std=he_std(num_in, gain) / size**0.5, generator=generator)
        self.bias = normal(num_out, std=0.0, generator=generator)
        # The signs are fixed, so they are no parameters.
        self.register_buffer("signs", (2 * torch.randint(2, (size, num_in), generator=generator) - 1).float())

    def forward(self, x: Tensor) -> Tensor:
        rows = pad(x[:, None] * self.signs, (0, self.length - x.shape[1]))  # [B, size, length]
        spectrum = (torch.fft.rfft(rows) * torch.fft.rfft(self.kernels)).sum(1)
        return torch.fft.irfft(spectrum, self.length)[:, : self.num_out] + self.bias

    @staticmethod
    def count(num_in: int, num_out: int, size: int) -> int:
        return size * max(num_in, num_out) + num_out
