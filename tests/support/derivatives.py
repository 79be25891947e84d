"""A layer, the same with its weights stored, and directions: what tests of derivatives compare."""

from __future__ import annotations

import torch

from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, Mehler, Particles
from pn_gpu.kernels.torch import autograd
from support.mehler import approximation

ALL = tuple(range(6))
SMOOTH = ["gaussian", "lorentzian", "inverse_multiquadric", "wendland_c2"]
HOW = {
    "direct": Direct(potentials.get("gaussian")),
    "mehler": Mehler(approximation(2, 12)),
    "mehler with left-out particles": Mehler(approximation(2, 12, left_out_in=[1, 5], left_out_out=[0, 6])),
}


def leaves(b=3, n_in=8, n_out=7, dim=2, dipole_dim=2, dtype=torch.float64, seed=0):
    """x, r_in, v_in, r_out, v_out and bias, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(b, n_in), (n_in, dim), (n_in, dipole_dim), (n_out, dim), (n_out, dipole_dim), (n_out,)]
    return [(0.5 * torch.randn(shape, generator=generator, dtype=dtype)).requires_grad_() for shape in shapes]


def plain(*arguments):
    """x, the tensors of `leaves` and directions alike, without gradients."""
    return tuple(t.detach() for t in leaves(*arguments))


def directions(**options):
    return tuple(t.detach() for t in leaves(seed=1, **options))


def stored(x, r_in, v_in, r_out, v_out, bias):
    """The layer with its weights stored, whose derivatives are torch's own."""
    return x @ ((v_in @ v_out.T) * torch.exp(-(r_in[:, None] - r_out).square().sum(-1))) + bias


def loss(linear):
    return lambda *arguments: linear(*arguments).sin().sum()


def by(how):
    return lambda x, *rest: autograd.particle_linear(x, Particles(*rest[:4]), rest[4], how)


def assert_close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
