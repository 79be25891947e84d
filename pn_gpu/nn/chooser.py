"""How the calls of one layer are planned: now, or within compiled graphs, which know the layer by a number."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pn_gpu.dispatch import is_captured
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, How, Mehler, Particles
from pn_gpu.kernels.staging import Planned, add_chooser
from pn_gpu.kernels.torch.autograd import dtype_under_autocast
from pn_gpu.planning import MethodPlanner, Plan


class LayerChooser:
    """Plans the calls of one layer."""

    def __init__(self, planner: MethodPlanner) -> None:
        self.planner = planner
        self.number = add_chooser(self)

    def plan(self, x: Tensor, particles: Particles, input_precision: str | None) -> Plan:
        """The plan as of `MethodPlanner`, which follows the particles from call to call."""
        rows, dtype = math.prod(x.shape[:-1]), dtype_under_autocast(x)
        return self.planner.plan(rows, *particles, dtype=dtype, input_precision=input_precision)

    def plan_unread(self, x: Tensor, particles: Particles) -> Plan | None:
        """The plan in use, for particles that cannot be read; none for a captured graph under which they will move."""
        trains = torch.is_grad_enabled() and any(p.requires_grad for p in particles)
        return None if trains and is_captured(x) else self.planner.current

    def choose(self, x: Tensor, particles: Particles, planned: Planned) -> How:
        """How to compute a call of a graph that runs."""
        plain = Particles(*(p.detach() for p in particles))
        approximation = self.plan(x, plain, planned.precision).approximation
        if approximation is None:
            return Direct(potentials.get(planned.potential), planned.precision)
        return Mehler(approximation)
