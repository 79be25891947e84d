"""Batched cotangents of `torch.autograd.grad(is_grads_batched=True)`.

It runs under torch's older vmap, whose tensors only torch's own operators read. Here a backward gets them through
`torch.vmap` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

_is_batched = torch._C._functorch.is_legacy_batchedtensor
Backward = Callable[..., tuple[Tensor | None, ...]]


def sees_batches(backward: Backward) -> Backward:
    """The ``backward(ctx, *cotangents)`` of an autograd.Function, for batched cotangents too."""

    @wraps(backward)
    def of_any(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        for c in cotangents:
            if c is not None and _is_batched(c):
                return _over_batches(backward, ctx, cotangents)
        return backward(ctx, *cotangents)

    return of_any


def _over_batches(backward: Backward, ctx: Any, cotangents: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    dims = tuple(0 if c is not None and _is_batched(c) else None for c in cotangents)
    plain = [
        c if dim is None else torch._remove_batch_dim(c, level, 0, dim)  # the batch size of 0 is not read
        for c, dim in zip(cotangents, dims, strict=True)
    ]
    given: list[bool] = []

    def results(*cotangents: Tensor | None) -> tuple[Tensor, ...]:
        gradients = backward(ctx, *cotangents)
        given[:] = [g is not None for g in gradients]
        return tuple(g for g in gradients if g is not None)

    batched = iter(torch.vmap(results, dims)(*plain))
    return tuple(torch._add_batch_dim(next(batched), 0, level) if is_given else None for is_given in given)
