"""Derivatives by central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def numerical_gradient(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The gradient of a scalar function of a flat float64 vector."""
    gradient = np.empty_like(at)
    for index in range(at.size):
        moved = at.copy()
        moved[index] = at[index] + step
        up = function(moved)
        moved[index] = at[index] - step
        gradient[index] = (up - function(moved)) / (2 * step)
    return gradient


def network_gradient(network, x, y, step: float = 1e-5) -> np.ndarray:
    """The gradient of a network's loss with respect to its flat parameter vector."""
    start = np.array(network.parameters.flat)

    def loss_at(flat: np.ndarray) -> float:
        network.parameters.flat[:] = flat
        return network.evaluate(x, y)["loss"]

    try:
        return numerical_gradient(loss_at, start, step)
    finally:
        network.parameters.flat[:] = start
