"""The product, entry by entry, of two matrices of low rank (Hyeon-Woo et al., FedPara, arXiv 2108.06098, 2021)."""

from __future__ import annotations

from torch import Generator, Tensor

from bench.compressed.family import WeightLinear, he_std, normal


class FedParaLinear(WeightLinear):
    """W = (U_1 V_1) * (U_2 V_2): of rank up to R^2 by the parameters of rank 2 R."""

    def __init__(self, num_in: int, num_out: int, size: int, gain: float, generator: Generator) -> None:
        super().__init__(num_out)
        # An entry is a product of two sums of R products: of deviation R std^4.
        std = (he_std(num_in, gain) / size) ** 0.25
        self.left = normal(2, num_in, size, std=std, generator=generator)
        self.right = normal(2, size, num_out, std=std, generator=generator)

    def weight(self) -> Tensor:
        first, second = self.left @ self.right
        return first * second

    @staticmethod
    def count(num_in: int, num_out: int, size: int) -> int:
        return 2 * size * (num_in + num_out) + num_out
