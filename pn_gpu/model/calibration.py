"""A start measured on data: every layer's z at the size it shall have, first layer first.

Layer-sequential unit variance (LSUV; Mishkin and Matas, 2016).
"""

from __future__ import annotations

from typing import Any

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.initialisation import correction, differs_by_example, root_mean_square, target_size
from pn_gpu.model.model import Model

Array = Any

# More examples would measure the size of z hardly better, and cost memory.
CALIBRATION_EXAMPLES = 512


def calibrate(model: Model, x: Array, weights: Array | None = None) -> bool:
    """Multiply the dipoles (or charges) of every layer's output set so that z starts with the size it shall have on x.

    Parameters
    ----------
    model : Model
    x : array, [B, N]
        On the model's backend; `CALIBRATION_EXAMPLES` rows, evenly spread, are used.
    weights : array [B], optional
        How much every example counts.

    Returns
    -------
    bool
        False if x cannot tell (one row, or all rows the same): then nothing was changed.
    """
    x = spread_examples(x)
    weights = None if weights is None else spread_examples(weights)
    if not differs_by_example(x) or (weights is not None and not bool(namespace_of(x).any(weights > 0))):
        return False
    for layer in model.connections:
        bias = model.parameters[f"{layer.prefix}.bias"]
        z = layer.forward(x, model.parameters) - bias
        factor = correction(root_mean_square(z, weights), target_size(layer.index, len(model.connections)))
        model.scale_outputs(layer.index, factor)
        x = layer.activation.forward(factor * z + bias)
    return True


def spread_examples(x: Array) -> Array:
    """At most `CALIBRATION_EXAMPLES` rows of x [B, N], evenly spread: data may be sorted by class."""
    step = -(-x.shape[0] // CALIBRATION_EXAMPLES)
    return x[:: max(step, 1), ...]
