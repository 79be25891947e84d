"""W = U V: the usual way to save parameters."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from bench.compressed.family import he_std, normal


class LowRankLinear(nn.Module):
    """z = (x U) V + b with U [N, R], V [R, M]."""

    def __init__(self, num_in: int, num_out: int, size: int, gain: float, generator: Generator) -> None:
        super().__init__()
        rank = size
        std = (he_std(num_in, gain) / rank**0.5) ** 0.5  # so that an entry of U V has the usual deviation
        self.left = normal(num_in, rank, std=std, generator=generator)
        self.right = normal(rank, num_out, std=std, generator=generator)
        self.bias = normal(num_out, std=0.0, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.left) @ self.right + self.bias

    @staticmethod
    def count(num_in: int, num_out: int, size: int) -> int:
        return size * (num_in + num_out) + num_out
