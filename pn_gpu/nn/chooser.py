"""How the calls of one layer are planned within compiled graphs, which know it by a number."""

from __future__ import annotations

from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, How, Mehler, Particles
from pn_gpu.kernels.staging import Planned, add_chooser
from pn_gpu.planning import MethodPlanner


class LayerChooser:
    """Plans the calls of one layer when graphs of it run."""

    def __init__(self, planner: MethodPlanner) -> None:
        self.planner = planner
        self.number = add_chooser(self)

    def choose(self, batch: int, particles: Particles, planned: Planned) -> How:
        """The plan as of `MethodPlanner`, which follows the particles from call to call."""
        approximation = self.planner.plan(batch, *(p.detach() for p in particles)).approximation
        if approximation is None:
            return Direct(potentials.get(planned.potential), planned.precision)
        return Mehler(approximation)
