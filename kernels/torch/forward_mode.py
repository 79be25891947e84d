"""The forward mode of an autograd.Function, made to nest."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor
from torch.autograd import forward_ad


def nestable(jvp: Callable[..., Any]) -> Callable[..., Any]:
    """A ``jvp(ctx, saved, *tangents)`` as torch wants it, whose operations outer levels of forward mode see.

    torch turns forward mode off while it runs a jvp, of all levels: an outer tangent would be lost without a word. Here
    it is on, and what has been saved comes without the tangents of the level at hand.
    """

    @wraps(jvp)
    def within_levels(ctx: Any, *tangents: Tensor | None) -> Any:
        with forward_ad._set_fwd_grad_enabled(True):
            saved = [None if t is None else forward_ad.unpack_dual(t, level=0).primal for t in ctx.saved_tensors]
            return jvp(ctx, saved, *tangents)

    return within_levels
