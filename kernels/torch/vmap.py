"""Batches of torch.vmap: taken apart into single calls, or put first for one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def vmap_list(call: Any, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
    """A gradient per sample is a call per sample."""
    calls = [call(*select(arguments, in_dims, i)) for i in range(info.batch_size)]
    results = type(calls[0])(torch.stack(gradients) for gradients in zip(*calls, strict=True))
    return results, type(calls[0])([0] * len(results))


def stacked(a: Tensor | None, dim: int | None, count: int = 1) -> Any:
    """An argument with the batch first; one that has none ``count`` times."""
    if a is None:
        return None
    return a.expand(count, *a.shape) if dim is None else a.movedim(dim, 0)


def select(arguments: tuple[Any, ...], in_dims: tuple[int | None, ...], index: int) -> list[Any]:
    """The arguments of one call of a batch."""
    return [a if dim is None else a.select(dim, index) for a, dim in zip(arguments, in_dims, strict=True)]
