"""``pn_gpu::planned_linear``: a staged call that is planned when its graph runs.

A plan reads the particles, which a graph that is traced cannot do. So the choice of the method is within the operator:
a compiled wide layer costs O(N + M) as an eager one does, and its plan follows the particles. The number of what was
chosen is a second result, by which all derivatives find it (``pn_gpu::chosen_linear_backward`` and so on).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pn_gpu.kernels import staging
from pn_gpu.kernels.room import Particles
from pn_gpu.kernels.staging import Planned
from pn_gpu.kernels.torch import compute
from pn_gpu.kernels.torch.library import LAYER

_SETTINGS = "int chooser, str potential, str? precision, str method, float rtol, bool keep"

_library = torch.library.Library("pn_gpu", "FRAGMENT")
_library.define(
    f"planned_linear({LAYER}, Tensor? bias, {_SETTINGS}) -> (Tensor, Tensor)", tags=(torch.Tag.pt2_compliant_tag,)
)
PLANNED = torch.ops.pn_gpu.planned_linear.default


def call_planned(x: Tensor, particles: Particles, bias: Tensor | None, how: Planned) -> Tensor:
    """z [..., M] for x [..., N]."""
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *particles, bias))
    z, _ = PLANNED(x, *particles, bias, how.chooser, how.potential, how.precision, how.method, how.rtol, keep)
    return z


def _forward(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    particles, bias, planned, keep = Particles(*rest[:4]), rest[4], Planned(*rest[5:-1]), rest[-1]
    how = staging.chooser_of(planned.chooser).choose(x, particles, planned)
    z, residuals = compute.forward(x, particles, bias, how, keep)
    return z, torch.tensor([staging.remember(how, residuals)])


def _forward_fake(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty((*x.shape[:-1], rest[2].shape[0])), torch.empty(1, dtype=torch.int64)


for _device in ("CPU", "CUDA"):
    _library.impl("planned_linear", _forward, _device)
torch.library.register_fake("pn_gpu::planned_linear", _forward_fake, lib=_library)
