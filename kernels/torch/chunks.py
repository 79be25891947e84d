"""Chunks of plain CPU tensors on this package's threads.

torch's own wait for one another by spinning after every operation: on a busy machine they lose their share of it again
and again, which made a product with a Hessian take thirty times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pn_gpu.kernels.host.slices import even_slices
from pn_gpu.kernels.host.threads import SERIAL_WORK, num_threads, parallel_map
from pn_gpu.kernels.torch.compute import own_threads

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether operations on CPU tensors are seen by nobody: no autograd, no torch.func, no dispatch mode."""
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0:
        return False
    given = [t for t in tensors if t is not None]
    is_plain = all(type(t) in (Tensor, torch.nn.Parameter) and t.device.type == "cpu" for t in given)
    return is_plain and not any(map(_is_differentiated, given))


def values_of(*tensors: Tensor | None) -> list[Tensor | None] | None:
    """What tensors stand for where one level of torch.func is active, which differentiates none of them; else None.

    Tangents of outer levels would not be seen here, so there is to be none.
    """
    functorch, values = torch._C._functorch, []
    if len(functorch.get_interpreter_stack() or ()) != 1:
        return None
    for t in tensors:
        if t is None or not functorch.is_functorch_wrapped_tensor(t):
            values.append(t)
        elif not functorch.is_gradtrackingtensor(t) or _is_differentiated(t):
            return None
        else:
            values.append(functorch.get_unwrapped(t))
    return values


def _is_differentiated(tensor: Tensor) -> bool:
    if torch.is_grad_enabled() and tensor.requires_grad:
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor, level=0).tangent is not None


def in_groups(function: Callable[[Sequence[Chunk]], Result], chunks: Sequence[Chunk], work: int) -> list[Result]:
    """``function`` of a group of neighbouring chunks for every thread; ``work`` in multiply-adds."""

    def of_group(group: slice) -> Result:
        torch.set_num_threads(1)  # of this thread alone
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return function(chunks[group])

    with own_threads(), one_thread():
        groups = even_slices(len(chunks), num_threads() if work >= SERIAL_WORK else 1)
        return parallel_map(of_group, groups, work)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch stays on the calling thread."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
