"""Particle layers in the graphs of `torch.fx.symbolic_trace`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.fx import Proxy

from pn_gpu.operator import particle_linear

if TYPE_CHECKING:
    from pn_gpu.nn.linear import ParticleLinear


def trace_layer(layer: ParticleLinear, x: Proxy) -> Proxy:
    """One node for the layer: a call of the module, as for `torch.nn.Linear`; of the operator if it is the root.

    Raises
    ------
    ValueError
        If the layer is the root and has an ``input_precision``, which the operator does not take.
    """
    tracer: Any = x.tracer
    if layer is not tracer.root:
        return tracer.create_proxy("call_module", tracer.path_of_module(layer), (x,), {})
    if layer.input_precision is not None:
        raise ValueError(
            f"input_precision: got {layer.input_precision!r} in a traced root, want None or a module around"
        )
    settings = (layer.potential, layer.method, layer.rtol)
    return tracer.create_proxy("call_function", particle_linear, (x, *layer._operands(), layer.bias, *settings), {})
