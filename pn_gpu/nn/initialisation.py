"""Particle layers of any torch model at unit scale, and steps that fit their size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pn_gpu.checks import check_integer, check_number
from pn_gpu.model.initialisation import (
    HIDDEN_SIZE,
    OUTPUT_SIZE,
    correction,
    differs_by_example,
    mean_length,
    root_mean_square,
)
from pn_gpu.nn.linear import ParticleLinear
from pn_gpu.nn.particles import Particles
from pn_gpu.training.proportional_steps import step_scales


@torch.no_grad()
def calibrate(
    model: nn.Module, *inputs: Any, output_size: float = OUTPUT_SIZE, **named_inputs: Any
) -> dict[str, float]:
    """Give the values z of every particle layer in a model unit size on these inputs.

    The model is called once, in evaluation mode. The dipoles of each `ParticleLinear`'s output set are multiplied by a
    number as its turn comes (layer-sequential unit variance; Mishkin and Matas, 2016); biases do not count. Call it
    after the model is made, before it is trained, compiled or wrapped for data-parallel training.

    A layer stays as it is if its inputs cannot tell (a single row, or rows that are all the same), or if its output set
    has been used before in the call, by another layer or by itself.

    Parameters
    ----------
    model : torch.nn.Module
        Any model with particle layers in it, or one such layer.
    *inputs, **named_inputs
        What the model takes: a batch as in training.
    output_size : float, default 0.5
        Root mean square of z for the particle layer that is called last; others get 1.

    Returns
    -------
    dict of str to float
        What each particle layer's output dipoles were multiplied by, by the layer's name in the model.

    Raises
    ------
    ValueError
        If the model has no particle layer, or ``output_size`` is not above 0.
    """
    check_number("output_size", output_size, low=0, low_open=True)
    layers = {layer: name for name, layer in model.named_modules() if isinstance(layer, ParticleLinear)}
    if not layers:
        raise ValueError(f"model: got a {type(model).__name__} without a ParticleLinear, want one with at least one")
    factors: dict[ParticleLinear, float] = {}
    used: set[Particles] = set()

    def scale(layer: ParticleLinear, arguments: tuple[Tensor, ...], z: Tensor) -> Tensor:
        free = layer.out_particles not in used
        used.update((layer.in_particles, layer.out_particles))
        if not free or not differs_by_example(arguments[0].reshape(-1, layer.in_features)):
            return z
        without_bias = z if layer.bias is None else z - layer.bias
        factors[layer] = correction(root_mean_square(without_bias.double()), HIDDEN_SIZE)
        layer.scale_outputs(factors[layer])
        scaled = without_bias * factors[layer]
        return scaled if layer.bias is None else scaled + layer.bias

    hooks = [layer.register_forward_hook(scale) for layer in layers]
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        model(*inputs, **named_inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, was_training in training.items():
            module.training = was_training
    last = next(reversed(factors), None)
    if last is not None:
        last.scale_outputs(output_size / HIDDEN_SIZE)
        factors[last] *= output_size / HIDDEN_SIZE
    return {name: factors.get(layer, 1.0) for layer, name in layers.items()}


def parameter_groups(model: nn.Module, lr: float, num_layers: int | None = None) -> list[dict[str, Any]]:
    """Parameters for a torch optimiser, with steps of dipoles in proportion to their size.

    For optimisers whose steps do not depend on the size of a gradient, such as Adam and RMSprop. One learning rate
    then serves every width (the idea of muP; Yang et al., 2022), as it does in `pn_gpu.ParticleNetwork.fit`.

    Parameters
    ----------
    model : torch.nn.Module
        Calibrated, if it shall be.
    lr : float
        Learning rate of everything but dipoles.
    num_layers : int, optional
        Particle layers that follow one another: the relative steps of their dipoles add up, and are 8 / num_layers
        times ``lr``. By default the number of particle layers in the model.

    Returns
    -------
    list of dict
        ``params`` and ``lr``, as ``torch.optim.Adam`` takes them.
    """
    check_number("lr", lr, low=0, low_open=True)
    if num_layers is None:
        num_layers = sum(isinstance(module, ParticleLinear) for module in model.modules())
    check_integer("num_layers", num_layers, low=1)
    node_sets = [module for module in model.modules() if isinstance(module, Particles)]
    lengths = {str(index): mean_length(nodes.dipole_parameter.detach()) for index, nodes in enumerate(node_sets)}
    scales = step_scales(lengths, num_layers)
    by_scale: dict[float, list[nn.Parameter]] = {1.0: []}
    of_dipoles = {nodes.dipole_parameter: scales[str(index)] for index, nodes in enumerate(node_sets)}
    for parameter in model.parameters():
        by_scale.setdefault(of_dipoles.get(parameter, 1.0), []).append(parameter)
    return [{"params": params, "lr": scale * lr} for scale, params in by_scale.items() if params]
