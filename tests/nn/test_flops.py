"""What torch's FLOP counter counts of a layer."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from pn_gpu.nn import ParticleLinear

B, N, M, n, d = 8, 6, 5, 2, 3


def count(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return {str(name): flops for name, flops in counter.get_flop_counts()["Global"].items()}


def test_direct():
    layer, x = ParticleLinear(N, M, dim=n, dipole_dim=d), torch.randn(2, B // 2, N, requires_grad=True)
    # Of a weight: n differences, n squares and n - 1 sums; d products and d - 1 sums; k(s); the product of both.
    make = N * M * (3 * n - 1 + 2 * d - 1 + 2)
    # Of its gradient: k for the dipoles, three factors for the positions; d and n multiply-adds into both node sets,
    # where r_i - r_j costs n more, and its negative nothing.
    pull_back = N * M * (4 + 2 * 2 * d + n + 2 * n)
    product = 2 * B * N * M
    forward = {"pn_gpu.particle_linear": make + product}
    assert count(lambda: layer(x)) == forward
    backward = {"pn_gpu.particle_linear_backward": make + 2 * product + pull_back}
    assert count(lambda: layer(x).sum().backward()) == forward | backward
    layer.requires_grad_(False)
    assert count(lambda: layer(x).sum().backward()) == forward | {"pn_gpu.particle_linear_backward": make + product}
    assert count(lambda: layer.weight) == {"pn_gpu.dense_weight": make}


def test_mehler_counts_far_fewer():
    layer = ParticleLinear(900, 800, dim=2, method="mehler", generator=torch.Generator().manual_seed(0))
    x = torch.randn(16, 900, generator=torch.Generator().manual_seed(1), requires_grad=True)
    counted = count(lambda: layer(x).sum().backward())
    approximation = layer.planner.current.approximation
    features, *left_out = approximation.size
    rows = 2 * features + sum(left_out)
    products = {
        "pn_gpu.mehler_linear": 2 * 16 * rows * (900 + 800),
        # dY, dx, x A, and the gradients of the rows of both factors.
        "pn_gpu.mehler_linear_backward": 2 * 16 * rows * (800 + 900 + 900 + 900 + 800),
    }
    # The test whether the plan still holds has a small product of its own.
    assert counted.keys() - {"aten.mm"} == products.keys()
    for name, flops in products.items():
        assert flops < counted[name] < 2 * flops
    assert sum(counted.values()) < 3 * 2 * 16 * 900 * 800
