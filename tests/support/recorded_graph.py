"""A CUDA graph played on the CPU: the operations of torch, and the calls of our kernels, recorded and run again.

Like a graph on a GPU it repeats the same operations on the same memory with the same numbers: whatever the host decided
or made while it was captured stays as it was. Capturing does nothing, a number that the host reads or an array that it
makes meanwhile is an error, and what is computed lies in memory of the graph's own, which a replay overwrites.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten

from pn_gpu.kernels.torch import compute

# What the host makes of numbers of its own; on a GPU a copy, which no graph holds.
FROM_HOST = ("tensor", "asarray", "as_tensor", "from_numpy")
TO_HOST = ("cpu", "numpy", "__array__", "tolist")


class NotCapturable(RuntimeError):
    """What a capture on a GPU refuses."""


class RecordedGraph:
    """A `pn_gpu.training.graphed_steps.Graph` of what torch does on the CPU."""

    def __init__(self) -> None:
        self.operations: list[Callable[[], None]] = []

    def warm_up(self, function: Callable[[], Any]) -> Any:
        """Run it."""
        return function()

    def capture(self, function: Callable[[], Any]) -> Any:
        """Record it, and undo what it changed."""
        changed = _Changed()
        try:
            with _host_refused() as host, _kernels_recorded(self, changed, host), _Recording(self, changed):
                return function()
        finally:
            changed.undo()

    def replay(self) -> None:
        """Run what was recorded."""
        with torch.no_grad():
            for operation in self.operations:
                operation()


class _Changed:
    """Memory from before a capture, as it was."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[Any, Any]] = {}
        self.made: dict[int, Any] = {}  # storages of the capture itself, kept so that no other gets their address

    def note(self, tensor: Any) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.made and storage.data_ptr() not in self._before:
            self._before[storage.data_ptr()] = storage, storage.clone()

    def add_made(self, tensor: Any) -> None:
        self.made[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    def undo(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)


class _Recording(TorchDispatchMode):
    def __init__(self, graph: RecordedGraph, changed: _Changed) -> None:
        super().__init__()
        self._graph, self._changed = graph, changed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise NotCapturable("a number is read back to the host")
        given = _tensors((args, kwargs))
        if func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._changed.note(value)
            for argument in func._schema.arguments:
                if argument.alias_info is not None and argument.alias_info.is_write and argument.name in kwargs:
                    self._changed.note(kwargs[argument.name])
        result = func(*args, **kwargs)
        addresses = {tensor.untyped_storage().data_ptr() for tensor in given}
        fresh = [t.untyped_storage().data_ptr() not in addresses for t in _tensors(result)]
        if func._schema.is_mutable or any(fresh):
            for tensor, is_fresh in zip(_tensors(result), fresh, strict=True):
                if is_fresh:
                    self._changed.add_made(tensor)
            self._graph.operations.append(lambda: _put(func(*args, **kwargs), result))
        return result


def _put(values: Any, into: Any) -> None:
    for value, tensor in zip(_tensors(values), _tensors(into), strict=True):
        if value.data_ptr() != tensor.data_ptr():
            tensor.copy_(value)


def _tensors(tree: Any) -> list[Any]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


class _Host:
    """Whether the host may make arrays, and read them."""

    allowed = False

    @contextlib.contextmanager
    def kernels(self) -> Iterator[None]:
        """NumPy's kernels, which stand for launches here, may."""
        self.allowed = True
        try:
            with _disable_current_modes():
                yield
        finally:
            self.allowed = False


@contextlib.contextmanager
def _host_refused() -> Iterator[_Host]:
    """Errors where the host makes an array, or reads one whole."""
    host = _Host()

    def guarded(function: Callable[..., Any], message: str, tensors_allowed: bool) -> Callable[..., Any]:
        def call(data: Any, *args: Any, **kwargs: Any) -> Any:
            if host.allowed or (tensors_allowed and isinstance(data, torch.Tensor)):
                return function(data, *args, **kwargs)
            raise NotCapturable(message)

        return call

    with contextlib.ExitStack() as stack:
        for where, names, message in (
            (torch, FROM_HOST, "an array is copied from the host"),
            (torch.Tensor, TO_HOST, "an array is copied to the host"),
        ):
            for name in names:
                call = guarded(getattr(where, name), message, tensors_allowed=where is torch)
                stack.enter_context(mock.patch.object(where, name, call))
        yield host


@contextlib.contextmanager
def _kernels_recorded(graph: RecordedGraph, changed: _Changed, host: _Host) -> Iterator[None]:
    """Our kernels as operations: on the CPU they are NumPy's, which torch does not see."""

    forward, backward = compute.forward, compute.backward

    def recorded_forward(x: Any, particles: Any, bias: Any, how: Any, keep: bool = False) -> Any:
        def call() -> Any:
            with host.kernels():
                return forward(x, particles, bias, how, keep)

        z, left = call()
        changed.add_made(z)
        residuals = [left]

        def again() -> None:
            value, residuals[0] = call()
            z.copy_(value)

        graph.operations.append(again)
        return z, residuals if keep else None

    def recorded_backward(*arguments: Any) -> Any:
        *others, residuals = arguments

        def call() -> Any:
            with host.kernels():
                return backward(*others, None if residuals is None else residuals[0])

        gradient = call()
        for tensor in _tensors(tuple(gradient)):
            changed.add_made(tensor)
        graph.operations.append(lambda: _put(tuple(call()), tuple(gradient)))
        return gradient

    with (
        mock.patch.object(compute, "forward", recorded_forward),
        mock.patch.object(compute, "backward", recorded_backward),
    ):
        yield
