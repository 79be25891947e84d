"""What each method costs on one machine, for one array library, device and dtype."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Seconds of a training step (forward and all gradients), in parts.

    Parameters
    ----------
    direct_call, mehler_call : float
        Of a call, whatever its size.
    direct_weight : float
        Per weight of the layer.
    direct_product : float
        Per weight and row of x.
    mehler_feature : float
        Per particle and value of a feature or of a feature times a dipole component.
    mehler_product : float
        Per particle, feature times dipole component, and row of x.
    """

    direct_call: float
    direct_weight: float
    direct_product: float
    mehler_call: float
    mehler_feature: float
    mehler_product: float

    def direct(self, batch: int, num_in: int, num_out: int) -> float:
        """Predicted seconds of a training step with every weight computed."""
        return self.direct_call + num_in * num_out * (self.direct_weight + batch * self.direct_product)

    def mehler(
        self,
        batch: int,
        num_in: int,
        num_out: int,
        dim: int,
        features: int,
        left_out_in: int = 0,
        left_out_out: int = 0,
    ) -> float:
        """Predicted seconds of a training step with ``features`` features and some particles left out of
        them."""
        values = (num_in + num_out) * features
        seconds = self.mehler_call + values * ((1 + dim) * self.mehler_feature + dim * batch * self.mehler_product)
        rows = (num_in + num_out) * (left_out_in + left_out_out)
        weights = left_out_in * num_out + num_in * left_out_out
        return seconds + rows * batch * self.mehler_product + weights * EXACT * self.mehler_feature


# An exact weight and the way back from its gradient cost as much as so many values of features.
EXACT = 2.0

# Relative costs for "mehler" by name, which measures nothing: on a CPU a value of a feature takes about as long as
# forty multiply-adds of a product.
NOMINAL = Costs(0, 4e-9, 1e-10, 0, 4e-9, 1e-10)
