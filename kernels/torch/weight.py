"""The stored weight matrix as a torch operator: O(N M) time for it and for its gradient, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from pn_gpu.kernels import potentials
from pn_gpu.kernels.dense import dense_weight as _dense_weight
from pn_gpu.kernels.dense import dense_weight_backward as _dense_weight_backward
from pn_gpu.kernels.numpy.tiles import WEIGHT_WORK
from pn_gpu.kernels.room import Particles
from pn_gpu.kernels.torch import chunks

Result = TypeVar("Result")

# Weights that are made at once, so that what lies between positions and weights stays in the cache.
BLOCK = 1 << 18


@torch.library.custom_op("pn_gpu::dense_weight", mutates_args=())
def dense_weight(r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, potential: str) -> Tensor:
    """W [N, M], differentiable once with respect to the particles; arguments are taken as checked."""
    pairwise = potentials.get(potential)
    w = r_in.new_empty(r_in.shape[0], r_out.shape[0])

    def fill(blocks: Sequence[slice]) -> None:
        for rows in blocks:
            w[rows] = _dense_weight(Particles(r_in[rows], v_in[rows], r_out, v_out), pairwise)

    _over_blocks(fill, w)
    return w


@dense_weight.register_fake
def _(r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, potential: str) -> Tensor:
    return r_in.new_empty(r_in.shape[0], r_out.shape[0])


@torch.library.custom_op("pn_gpu::dense_weight_backward", mutates_args=())
def _backward(
    dw: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, potential: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    pairwise = potentials.get(potential)
    dr_in, dv_in = torch.zeros_like(r_in), torch.zeros_like(v_in)

    def of_outputs(blocks: Sequence[slice]) -> tuple[Tensor, Tensor]:
        dr_out, dv_out = torch.zeros_like(r_out), torch.zeros_like(v_out)
        for rows in blocks:
            particles = Particles(r_in[rows], v_in[rows], r_out, v_out)
            of_rows = _dense_weight_backward(dw[rows], particles, pairwise)
            for total, part in zip((dr_in[rows], dv_in[rows], dr_out, dv_out), of_rows, strict=True):
                total += part
        return dr_out, dv_out

    groups = _over_blocks(of_outputs, dw) or [of_outputs([])]
    dr_out, dv_out = (sum(each[1:], each[0]) for each in zip(*groups, strict=True))
    return dr_in, dv_in, dr_out, dv_out


@_backward.register_fake
def _(
    dw: Tensor, r_in: Tensor, v_in: Tensor, r_out: Tensor, v_out: Tensor, potential: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(r_in), torch.empty_like(v_in), torch.empty_like(r_out), torch.empty_like(v_out)


def _over_blocks(function: Callable[[Sequence[slice]], Result], w: Tensor) -> list[Result]:
    """``function`` of all blocks, on the CPU in groups."""
    blocks = list(_row_blocks(w))
    return chunks.in_groups(function, blocks, WEIGHT_WORK * w.numel()) if w.is_cpu else [function(blocks)]


def _row_blocks(w: Tensor) -> Iterator[slice]:
    """Slices of the rows of a matrix, each of about `BLOCK` elements."""
    step = max(1, BLOCK // max(w.shape[1], 1))
    for start in range(0, w.shape[0], step):
        yield slice(start, start + step)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *particles, ctx.potential = inputs
    ctx.save_for_backward(*particles)


def _pull_back(ctx: Any, dw: Tensor) -> tuple[Tensor | None, ...]:
    return (*_backward(dw, *ctx.saved_tensors, ctx.potential), None)


dense_weight.register_autograd(_pull_back, setup_context=_setup_context)
