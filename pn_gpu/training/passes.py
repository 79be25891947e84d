"""Forward and backward through all layers of a network, on arrays of its backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pn_gpu.kernels.room import How
from pn_gpu.model.layers import PullBack
from pn_gpu.model.model import Model
from pn_gpu.model.parameters import ParameterVector

Array = Any


class LayerState(NamedTuple):
    """What one layer computed: z [B, M], activations y [B, M] before dropout, and the way back of a gradient."""

    z: Array
    y: Array
    pull_back: PullBack | None


def forward_pass(
    network: Model, x: Array, masks: Sequence[Array | None] | None = None, hows: Sequence[How | None] | None = None
) -> list[LayerState]:
    """The states of all layers for x [B, N].

    With ``masks``, one for every layer, a gradient can be taken back; hidden activations are multiplied by those that
    are not None, which is dropout. ``hows`` is what `Layer.how` says of every layer, where it has been asked.
    """
    states = []
    for index, layer in enumerate(network.connections):
        how = None if hows is None else hows[index]
        if masks is None:
            z, pull_back = layer.forward(x, network.parameters, how), None
        else:
            z, pull_back = layer.vjp(x, network.parameters, how)
        y = layer.activation.forward(z)
        states.append(LayerState(z, y, pull_back))
        mask = None if masks is None else masks[index]
        x = y if mask is None else y * mask
    return states


def batch_gradient(
    network: Model,
    x: Array,
    targets: Array,
    weights: Array | None = None,
    masks: Sequence[Array | None] | None = None,
    hows: Sequence[How | None] | None = None,
) -> tuple[Array, ParameterVector, Array]:
    """Loss (a scalar array), its gradient, and the outputs [B, M] of one batch; ``masks`` and ``hows`` as above.

    With ``weights`` [B] the loss is the sum of weighted losses over B.
    """
    masks = masks or [None] * len(network.connections)
    states = forward_pass(network, x, masks, hows)
    output = states[-1]
    loss = output_loss(network, output, targets, weights)
    flat = network.backend.zeros(network.num_parameters, network.dtype)
    gradient = ParameterVector(network.parameters.layout, flat)
    dz = _output_gradient(network, output, targets) / x.shape[0]
    if weights is not None:
        dz = dz * weights[:, None]
    for index in reversed(range(len(states))):
        pull_back = states[index].pull_back
        assert pull_back is not None
        dx = pull_back(dz, gradient, need_dx=index > 0)
        if index > 0:
            below, mask = states[index - 1], masks[index - 1]
            activation = network.connections[index - 1].activation
            dz = activation.backward(dx if mask is None else dx * mask, below.z, below.y)
    return loss, gradient, output.y


def output_loss(network: Model, output: LayerState, targets: Array, weights: Array | None = None) -> Array:
    """The mean of the (weighted) losses at the output layer, from the logits where that is more stable."""
    loss = network.loss
    if _is_from_logits(network) and loss.value_from_logits is not None:
        losses = loss.value_from_logits(output.z, targets)
    else:
        losses = loss.value(output.y, targets)
    return network.backend.xp.sum(losses if weights is None else losses * weights) / targets.shape[0]


def _output_gradient(network: Model, output: LayerState, targets: Array) -> Array:
    """The derivative [B, M] of every example's loss by the logits."""
    loss = network.loss
    if _is_from_logits(network) and loss.logits_gradient is not None:
        return loss.logits_gradient(output.y, targets)
    activation = network.connections[-1].activation
    return activation.backward(loss.gradient(output.y, targets), output.z, output.y)


def _is_from_logits(network: Model) -> bool:
    return network.loss.logits_activation == network.connections[-1].activation.name
