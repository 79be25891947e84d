"""Checkpointing that composes: a function of tensors that leaves its arguments alone to its derivatives, of any order
and by any transform of torch.func.

`torch.utils.checkpoint` rests on hooks of saved tensors, which torch.func does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pn_gpu.kernels.torch.forward_mode import nestable

Function = Callable[..., tuple[Tensor, ...]]

# Elements that one array of a batched function may have, unless a single sample has more.
MOST_ELEMENTS = 1 << 20


def recomputed(function: Function, elements: int, *arguments: Tensor | None) -> tuple[Tensor, ...]:
    """``function(*arguments)``, whose intermediate results are made again by every derivative.

    Parameters
    ----------
    function : callable
        Takes the arguments and returns a tuple of tensors; made of operations that torch differentiates.
    elements : int
        Of its largest intermediate result: under vmap so many samples go together as keep within `MOST_ELEMENTS`.
    *arguments : Tensor or None
    """
    given = [argument is not None for argument in arguments]

    def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
        following = iter(tensors)
        return function(*(next(following) if is_given else None for is_given in given))

    return _Recomputed.apply(of_tensors, elements, *(a for a in arguments if a is not None))


def forward_derivative(function: Callable[..., Any], point: Sequence[Tensor], tangents: Sequence[Tensor]) -> Any:
    """The tangent of ``function(*point)`` as the derivative of its linear pull-back: unlike `torch.func.jvp` it works
    within a level of `torch.autograd.forward_ad`."""
    output, pull_back = torch.func.vjp(function, *point)
    nothing = torch.zeros_like(output) if isinstance(output, Tensor) else tuple(map(torch.zeros_like, output))
    return torch.func.vjp(pull_back, nothing)[1](tuple(tangents))[0]


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(function: Function, elements: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.function, ctx.elements = inputs[:2]
        ctx.save_for_backward(*inputs[2:])
        ctx.save_for_forward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        function, count = ctx.function, len(ctx.saved_tensors)

        def pull_back(*tensors: Tensor) -> tuple[Tensor, ...]:
            return torch.func.vjp(function, *tensors[:count])[1](tensors[count:])

        return None, None, *recomputed(pull_back, ctx.elements, *ctx.saved_tensors, *cotangents)

    @staticmethod
    @nestable
    def jvp(ctx: Any, saved: list[Tensor], _: None, __: None, *tangents: Tensor) -> tuple[Tensor, ...]:
        function, count = ctx.function, len(saved)

        def push_forward(*tensors: Tensor) -> tuple[Tensor, ...]:
            return forward_derivative(function, tensors[:count], tensors[count:])

        return recomputed(push_forward, ctx.elements, *saved, *tangents)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], function: Function, elements: int, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        together = max(1, min(info.batch_size, MOST_ELEMENTS // max(elements, 1)))
        batched = torch.vmap(function, in_dims[2:], chunk_size=together)
        outputs = recomputed(batched, elements * together, *tensors)
        return outputs, (0,) * len(outputs)
