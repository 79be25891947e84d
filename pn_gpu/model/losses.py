"""Losses of every example, sums over the outputs, with their gradients; a batch's loss is their (weighted) mean.

A loss that belongs to an output activation (cross-entropies) is computed from the logits z, which is stable where the
activations round to 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pn_gpu.checks import check_choice
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.activations import log_softmax, softplus

Array = Any


@dataclass(frozen=True)
class Loss:
    """A loss of outputs y [B, M] against targets t [B, M].

    Attributes
    ----------
    name : str
    value, gradient : callable
        ``value(y, t)`` [B]: the loss of every example; ``gradient(y, t)`` [B, M]: its derivative by y.
    logits_activation : str or None
        The output activation with which the loss is computed from logits.
    value_from_logits, logits_gradient : callable, optional
        For that activation, ``value_from_logits(z, t)`` [B]: the losses, and ``logits_gradient(y, t)`` [B, M]: their
        derivatives by z.
    """

    name: str
    value: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], Array]
    logits_activation: str | None = None
    value_from_logits: Callable[[Array, Array], Array] | None = None
    logits_gradient: Callable[[Array, Array], Array] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return get_loss, (self.name,)  # functions without a name cannot be pickled


def _over_outputs(terms: Array) -> Array:
    return namespace_of(terms).sum(terms, axis=-1)


def _positive(y: Array) -> Array:
    """y kept away from 0, where a logarithm or a quotient would not be finite."""
    xp = namespace_of(y)
    return xp.clip(y, min=float(xp.finfo(y.dtype).smallest_normal))


def _categorical_from_logits(z: Array, t: Array) -> Array:
    return _over_outputs(-t * log_softmax(z))


def _categorical_logits_gradient(y: Array, t: Array) -> Array:
    return y * namespace_of(t).sum(t, axis=-1, keepdims=True) - t


CATEGORICAL_CROSSENTROPY = Loss(
    "categorical_crossentropy",
    lambda y, t: _over_outputs(-t * namespace_of(y).log(_positive(y))),
    lambda y, t: -t / _positive(y),
    "softmax",
    _categorical_from_logits,
    _categorical_logits_gradient,
)

BINARY_CROSSENTROPY = Loss(
    "binary_crossentropy",
    lambda y, t: _over_outputs(
        -t * namespace_of(y).log(_positive(y)) - (1 - t) * namespace_of(y).log(_positive(1 - y))
    ),
    lambda y, t: (1 - t) / _positive(1 - y) - t / _positive(y),
    "sigmoid",
    lambda z, t: _over_outputs(softplus(z) - t * z),
    lambda y, t: y - t,
)

MSE = Loss("mse", lambda y, t: _over_outputs(0.5 * (y - t) ** 2), lambda y, t: y - t)

MAE = Loss(
    "mae",
    lambda y, t: _over_outputs(namespace_of(y).abs(y - t)),
    lambda y, t: namespace_of(y).sign(y - t),
)

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (CATEGORICAL_CROSSENTROPY, BINARY_CROSSENTROPY, MSE, MAE)}

DEFAULT_LOSS = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}


def get_loss(name: str) -> Loss:
    """The loss called ``name``; ValueError if there is none."""
    return LOSSES[check_choice("loss", name, LOSSES)]
