"""What is measured: layers of one shape and dtype, and the layers that compete there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.rivals import is_installed, keops_linear
from pn_gpu.nn import ParticleLinear

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
# torch's setting for the float32 products of the dense layers, and what the particle layers are asked for.
PRECISIONS = {"fp32": ("highest", "ieee"), "tf32": ("high", "tf32"), "bf16": ("highest", None)}
# Compiling for every case would take longer than all else: these sizes, batches and dtypes stand for the others.
COMPILED_SIZE = 4096
COMPILED_BATCHES = (16, 1024)
COMPILED_DTYPES = ("bf16", "fp32")
KEOPS_BATCH = 128


@dataclass(frozen=True)
class Case:
    """A square layer: ``size`` inputs, ``size`` outputs, ``batch`` rows, numbers of ``dtype``."""

    size: int
    batch: int
    dtype: str

    @property
    def flops(self) -> int:
        """Of the forward product; a backward has twice as many, a training step three times."""
        return 2 * self.batch * self.size**2

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """x [B, N], which wants a gradient, and dz [B, N]."""
        generator = torch.Generator(device).manual_seed(self.batch)
        shape = (self.batch, self.size)
        x, dz = (torch.randn(shape, generator=generator, device=device) for _ in range(2))
        return x.to(DTYPES[self.dtype]).requires_grad_(), dz.to(DTYPES[self.dtype])


@dataclass(frozen=True)
class Contender:
    """One way to compute a case. ``skip`` says why it cannot, where it cannot."""

    name: str
    make: Callable[[Case, torch.device], nn.Module]
    dim: int | None = None
    skip: str = ""


class MaterialisedLinear(ParticleLinear):
    """The particle layer as plain torch would have it: W stored, and differentiated by autograd (the Gaussian)."""

    def forward(self, x: Tensor) -> Tensor:
        r_in, v_in, r_out, v_out = self._operands()
        squares = (r_in * r_in).sum(dim=1)[:, None] + (r_out * r_out).sum(dim=1)
        s = torch.addmm(squares, r_in, r_out.T, alpha=-2)
        weight = (v_in @ v_out.T) * torch.exp(-s)
        assert self.bias is not None
        return torch.addmm(self.bias.to(x.dtype), x, weight.to(x.dtype))


class KeopsLinear(ParticleLinear):
    """The particle layer as KeOps computes it: one lazy reduction over the inputs, all rows of the batch at once."""

    def forward(self, x: Tensor) -> Tensor:
        r_in, v_in, r_out, v_out = self._operands()
        return keops_linear(x, r_in, v_in, r_out, v_out, self.bias)


def contenders(case: Case, dims: list[int], compiled: bool) -> Iterator[Contender]:
    """Everything that is measured for a case: the dense layer first, which the others are compared with."""
    yield Contender("linear", _dense)
    for dim in dims:
        yield Contender("particles", _particles(dim, PRECISIONS[case.dtype][1]), dim)
    yield Contender("particles auto", _layer(ParticleLinear, dims[0], method="auto"), dims[0])
    if case.dtype == "tf32":
        yield Contender("particles bf16x3", _particles(dims[-1], "bf16x3"), dims[-1])
    for dim in dims:
        yield Contender("materialised", _layer(MaterialisedLinear, dim), dim)
    if compiled and is_compiled(case):
        yield from _compiled(case, dims[-1])
    if case.batch == KEOPS_BATCH:
        yield _keops(case, dims[-1])


def is_compiled(case: Case) -> bool:
    """Whether the contenders under torch.compile take part."""
    return case.size == COMPILED_SIZE and case.batch in COMPILED_BATCHES and case.dtype in COMPILED_DTYPES


def _dense(case: Case, device: torch.device) -> nn.Module:
    return nn.Linear(case.size, case.size, device=device, dtype=DTYPES[case.dtype])


def _layer(kind: type[ParticleLinear], dim: int, **options: Any) -> Callable[[Case, torch.device], nn.Module]:
    def make(case: Case, device: torch.device) -> nn.Module:
        generator = torch.Generator(device).manual_seed(0)
        return kind(case.size, case.size, dim, generator=generator, device=device, **options)

    return make


def _particles(dim: int, precision: str | None) -> Callable[[Case, torch.device], nn.Module]:
    return _layer(ParticleLinear, dim, input_precision=precision, method="direct")


def _compiled(case: Case, dim: int) -> Iterator[Contender]:
    makers = {
        "linear": (_dense, None),
        "particles": (_particles(dim, PRECISIONS[case.dtype][1]), dim),
        "materialised": (_layer(MaterialisedLinear, dim), dim),
    }
    for name, (make, contender_dim) in makers.items():

        def make_compiled(case: Case, device: torch.device, make: Any = make) -> nn.Module:
            module = make(case, device)
            module.compile(fullgraph=True)
            return module

        yield Contender(f"{name} compiled", make_compiled, contender_dim)


def _keops(case: Case, dim: int) -> Contender:
    skip = ""
    if case.dtype != "fp32":
        skip = "KeOps computes in fp32"
    elif not is_installed("pykeops"):
        skip = "pykeops is not installed (pip install pykeops)"
    return Contender("keops", _layer(KeopsLinear, dim), dim, skip)
