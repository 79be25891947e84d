"""Every CUDA kernel of the torch layers once, on small ragged layers, against a stored W in float64.

The first thing to run on a new device, and what compute-sanitizer is given to watch.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

import pn_gpu as pn
from pn_gpu.nn import ParticleLinear

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SHAPES = ((1, 70, 33), (40, 130, 129), (300, 65, 200))
POTENTIALS = {
    "gaussian": lambda s: torch.exp(-s),
    "triangle": lambda s: (1 - s.sqrt()).clamp(min=0),
    "lorentzian": lambda s: 1 / (1 + s),
}
# Units of rounding that an element may err by, of the largest; a wrong index errs by hundreds.
ROUNDINGS = 32


def main() -> int:
    """Forward and backward of each shape, dtype and potential; 1 if one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    cases = [(shape, potential, dtype) for shape in SHAPES for potential in POTENTIALS for dtype in DTYPES]
    wrong = 0
    for case in cases:
        try:
            error = largest_error(*case, device)
            is_wrong = not error <= ROUNDINGS
            verdict = f"error {error:.2f} eps{' WRONG' if is_wrong else ''}"
        except Exception as failure:  # one kernel that does not run is a line; the others go on
            is_wrong, verdict = True, f"FAILED: {type(failure).__name__}: {failure}"
        wrong += is_wrong
        print(*case, verdict, flush=True)
    print(f"{wrong} wrong of {len(cases)} on {device}")
    return int(wrong > 0)


def largest_error(shape: tuple[int, int, int], potential: str, dtype: torch.dtype, device: str) -> float:
    """The largest |difference| / largest |element| of z and of every gradient, in units of rounding of ``dtype``."""
    batch, num_in, num_out = shape
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    layer = ParticleLinear(num_in, num_out, potential=potential, method="direct", device=device, dtype=wide)
    x = torch.randn(batch, num_in, device=device, dtype=dtype, requires_grad=True)
    dz = torch.randn(batch, num_out, device=device, dtype=dtype)
    arguments = (x, *(p.detach().requires_grad_() for p in layer._operands()))
    exact = tuple(a.detach().double().requires_grad_() for a in arguments)
    z = pn.particle_linear(*arguments, potential=potential, method="direct")
    want = exact[0] @ _weight(*exact[1:], potential)
    gradients = torch.autograd.grad(z, arguments, dz)
    wanted = torch.autograd.grad(want, exact, dz.double())
    pairs = zip((z, *gradients), (want, *wanted), strict=True)
    return max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs) / torch.finfo(dtype).eps


def _weight(r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, potential: str) -> Tensor:
    s = (r_in[:, None] - r_out).square().sum(dim=2)
    return (v_in @ v_out.T) * POTENTIALS[potential](s)


if __name__ == "__main__":
    sys.exit(main())
