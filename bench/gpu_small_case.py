"""Every CUDA kernel of the torch layers once, on small ragged layers: what compute-sanitizer is given to watch."""

from __future__ import annotations

import argparse

import torch

from pn_gpu.nn import ParticleLinear

DTYPES = (torch.float32, torch.bfloat16)
SHAPES = ((1, 70, 33), (40, 130, 129), (300, 65, 200))


def main() -> None:
    """Forward and backward of each shape, dtype and potential of interest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    for batch, num_in, num_out in SHAPES:
        for potential in ("gaussian", "triangle"):
            layer = ParticleLinear(num_in, num_out, potential=potential, device=device)
            for dtype in DTYPES:
                x = torch.randn(batch, num_in, device=device, dtype=dtype, requires_grad=True)
                layer(x).float().sum().backward()
                assert x.grad is not None
                assert x.grad.isfinite().all()
    print(f"{len(SHAPES)} shapes on {device}: ran")


if __name__ == "__main__":
    main()
