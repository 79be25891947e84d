"""How the calls of one layer are planned: now, or within compiled graphs, which know the layer by a number."""

from __future__ import annotations

import math

from torch import Tensor

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

    def choose(self, x: Tensor, particles: Particles, planned: Planned) -> How:
        """How to compute a call of a graph that runs."""
        plain = Particles(*(p.detach() for p in particles))
        approximation = self.plan(x, plain, planned.precision).approximation
        if approximation is None:
            return Direct(potentials.get(planned.potential), planned.precision)
        return Mehler(approximation)
