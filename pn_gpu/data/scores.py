"""How well numbers are predicted, in their own units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.target_coding import Numbers


@dataclass(frozen=True)
class RegressionScores:
    """Of predictions [B, K].

    Attributes
    ----------
    r2 : float
        Coefficient of determination, the mean over columns: 1 is perfect, 0 is what the best constant reaches.
    rmse : tuple of float
        Root of the mean squared error of every column, in the units of the targets.
    constant_rmse : tuple of float
        The same of the best constant, the mean of these targets.
    """

    r2: float
    rmse: tuple[float, ...]
    constant_rmse: tuple[float, ...]

    def __str__(self) -> str:
        def joined(values: tuple[float, ...]) -> str:
            return ", ".join(f"{value:.4g}" for value in values)

        return f"R2 {self.r2:.3f}  RMSE {joined(self.rmse)} (a constant: R2 0, RMSE {joined(self.constant_rmse)})"


def regression_scores(targets: Numbers, y: Array, outputs: Array) -> RegressionScores:
    """Scores of a network's outputs [B, K] for targets [B, K], both as the network has them."""
    true, predicted = targets.decode(y), targets.decode(outputs)
    squares = ((true - predicted) ** 2).mean(axis=0)
    constant = true.var(axis=0)
    # Of a constant target only a perfect prediction has a score.
    ratio = np.divide(squares, constant, out=np.where(squares > 0, np.inf, 0.0), where=constant > 0)
    roots = [tuple(float(value) for value in np.sqrt(values)) for values in (squares, constant)]
    return RegressionScores(float((1 - ratio).mean()), *roots)
