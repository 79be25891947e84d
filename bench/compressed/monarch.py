"""Two block-diagonal matrices with a transposition between them (Dao et al., Monarch, 2022)."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from bench.compressed.family import normal


class MonarchLinear(nn.Module):
    """The inputs in about sqrt(N) blocks, each to ``size`` values; value k of all blocks to block k of the outputs."""

    def __init__(self, num_in: int, num_out: int, size: int, gain: float, generator: Generator) -> None:
        super().__init__()
        blocks, width, height = self._shape(num_in, num_out, size)
        self.num_in, self.num_out, self.blocks, self.width = num_in, num_out, blocks, width
        self.first = normal(blocks, width, size, std=gain * (2 / width) ** 0.5, generator=generator)
        self.second = normal(size, blocks, height, std=blocks**-0.5, generator=generator)
        self.bias = normal(num_out, std=0.0, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = pad(x, (0, self.blocks * self.width - self.num_in)).view(-1, self.blocks, self.width)
        middle = torch.einsum("bkw,kws->bsk", x, self.first)  # [B, size, blocks]
        z = torch.einsum("bsk,skh->bsh", middle, self.second)  # [B, size, height]
        return z.flatten(1)[:, : self.num_out] + self.bias

    @staticmethod
    def _shape(num_in: int, num_out: int, size: int) -> tuple[int, int, int]:
        """Blocks of the inputs, inputs of each, and outputs of each of the ``size`` output blocks."""
        blocks = max(round(math.sqrt(num_in)), 1)
        return blocks, math.ceil(num_in / blocks), math.ceil(num_out / size)

    @staticmethod
    def count(num_in: int, num_out: int, size: int) -> int:
        blocks, width, height = MonarchLinear._shape(num_in, num_out, size)
        return size * blocks * (width + height) + num_out
