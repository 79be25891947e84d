"""What an eager call keeps between its forward and its backward."""

from __future__ import annotations

import torch
from torch import Tensor

from pn_gpu.kernels.room import Residuals

_saved_tensors_hooks = torch._C._autograd._top_saved_tensors_default_hooks


class Kept:
    """What an eager forward leaves to its backward, until that has run or the graph is dropped."""

    __slots__ = ("residuals", "wanted")

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.residuals: Residuals | None = None

    def take(self) -> Residuals | None:
        """The residuals, once: a second backward through the same graph finds out anew."""
        residuals, self.residuals = self.residuals, None
        return residuals


def may_keep(*tensors: Tensor | None) -> bool:
    """Whether a backward may come that can take what the forward leaves.

    Hooks of saved tensors, with which checkpointing and offloading rule what a graph holds, do not see residuals.
    """
    if not torch.is_grad_enabled() or _saved_tensors_hooks(True) is not None:
        return False
    return any([t is not None and t.requires_grad for t in tensors])  # a generator takes twice as long
