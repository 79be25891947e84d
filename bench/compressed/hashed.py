"""Weights that share values by chance (Chen et al., Compressing neural networks with the hashing trick, 2015)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bench.compressed.family import WeightLinear, he_std, normal


class HashedLinear(WeightLinear):
    """w_ij = sign(i, j) u[h(i, j)] with a random h and random signs; ``size`` values for every eight nodes."""

    index: Tensor
    sign: Tensor

    def __init__(self, num_in: int, num_out: int, size: int, gain: float, generator: Generator) -> None:
        super().__init__(num_out)
        count = self._values(num_in, num_out, size)
        self.values = normal(count, std=he_std(num_in, gain), generator=generator)
        # In a library the two would come from a hash function: they are not counted as parameters.
        self.register_buffer("index", torch.randint(count, (num_in, num_out), generator=generator))
        signs = torch.randint(2, (num_in, num_out), generator=generator)
        self.register_buffer("sign", (2 * signs - 1).float())

    def weight(self) -> Tensor:
        return self.values[self.index] * self.sign

    @staticmethod
    def _values(num_in: int, num_out: int, size: int) -> int:
        return min(size * (num_in + num_out) // 8, num_in * num_out)

    @staticmethod
    def count(num_in: int, num_out: int, size: int) -> int:
        return HashedLinear._values(num_in, num_out, size) + num_out
