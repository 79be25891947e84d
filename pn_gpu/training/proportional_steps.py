"""Steps in proportion to the size of what they move.

The dipoles of a wide layer start small, about as 1 / N on one side or the other, while an optimiser such as Adam moves
every parameter by about the learning rate, whatever its size. So the optimiser is given p / s for a parameter p of size
s, as if dipoles had unit size and the layer a fixed factor. One learning rate then serves every width (the idea of muP:
Yang et al., 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pn_gpu.model.parameters import ParameterVector

if TYPE_CHECKING:
    from pn_gpu.model.model import Model

Array = Any

# Steps of all dipoles together, relative to their length, against a position's step (positions are of about unit size).
# Measured; the changes of L layers add up, so each takes an L-th of it.
RELATIVE_STEP = 8.0


class ProportionalSteps:
    """An optimiser's update of p / s.

    Parameters
    ----------
    network : Model
    scales : mapping of str to float
        s by parameter name, 1 for those not named. Powers of two: dividing by them loses nothing.
    """

    def __init__(self, network: Model, scales: Mapping[str, float]) -> None:
        self.scales = dict(scales)
        self._factors: Array | None = None
        if any(scale != 1 for scale in self.scales.values()):
            layout = network.parameters.layout
            factors = ParameterVector(layout, np.ones(layout.size, dtype=network.dtype))
            for name, scale in self.scales.items():
                factors[name][...] = scale
            self._factors = network.backend.asarray(factors.flat)

    def update(self, move: Callable[[Array, Array], None], parameters: Array, gradient: Array) -> None:
        """Move ``parameters`` [P] in place, as ``move`` moves p / s by their gradient."""
        if self._factors is None:
            move(parameters, gradient)
            return
        scaled = parameters / self._factors
        move(scaled, gradient * self._factors)
        parameters[:] = scaled * self._factors


def step_scales(sizes: Mapping[str, float], num_layers: int) -> dict[str, float]:
    """The scales of parameters of these sizes, in a network of so many layers."""
    return {name: 2.0 ** round(math.log2(RELATIVE_STEP / num_layers * size)) for name, size in sizes.items()}
