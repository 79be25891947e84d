"""Label smoothing: targets of a classification that are a little less sure (Szegedy et al. 2016)."""

from __future__ import annotations

from typing import Any

from pn_gpu.checks import check_number
from pn_gpu.model.model import Model

Array = Any


def check_label_smoothing(smoothing: float, network: Model) -> float:
    """0 <= part < 1, and 0 for a network whose loss is no cross-entropy; ValueError otherwise."""
    part = check_number("label_smoothing", smoothing, low=0, high=1, high_open=True)
    if part and network.loss.logits_activation is None:
        raise ValueError(
            f"label_smoothing: got {smoothing!r} with loss {network.loss.name!r}, want 0 or a cross-entropy loss"
        )
    return part


def smooth_labels(targets: Array, smoothing: float, network: Model) -> Array:
    """Targets [B, M], of which the part ``smoothing`` is shared out evenly: t (1 - e) + e / K.

    K is the number of classes M, or 2 (yes and no) where every output is a question of its own. The likeliest class
    stays the likeliest, so an accuracy may be taken from the result.
    """
    if not smoothing:
        return targets
    num_choices = network.sizes[-1] if network.has_classes else 2
    return targets * (1 - smoothing) + smoothing / num_choices
