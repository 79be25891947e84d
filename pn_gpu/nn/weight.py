"""The weight matrix of a particle layer as a tensor that may be read but not written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_IN_PLACE = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
# Besides the functions whose names end in one underscore, as torch's do that write to their first argument.
_WRITING = {"__setitem__", "__set__", "__delete__", *(f"__i{name}__" for name in _IN_PLACE)}


class _ComparableToParameters(torch._C._TensorMeta):
    """`torch.testing.assert_close` compares tensors of related types alone: the weight of an `nn.Linear` is one."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or type(instance) is nn.Parameter


class ComputedWeight(Tensor, metaclass=_ComparableToParameters):
    """A weight matrix computed from particles: what is written to it would be lost, so writing is refused.

    Everything else gives plain tensors, except a view of the matrix, which refuses like it.
    """

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if type(kwargs.get("out")) is cls or (_writes(func) and args and type(args[0]) is cls):
            raise RuntimeError(
                f"weight: got a write to it ({func.__name__}), want none: it is computed from the particles at every "
                "access and a change would be lost. Change in_particles and out_particles (reset_parameters() draws "
                "them anew, requires_grad_() of the layer freezes them), or take a copy: layer.weight.detach().clone()"
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if type(result) is Tensor and any(_is_view(result, a) for a in args if type(a) is cls):
                return result.as_subclass(cls)
            return result


def _writes(func: Callable[..., Any]) -> bool:
    name = func.__name__
    return name in _WRITING or (name.endswith("_") and not name.endswith("__"))


def _is_view(result: Tensor, weight: Tensor) -> bool:
    return result.untyped_storage()._cdata == weight.untyped_storage()._cdata
