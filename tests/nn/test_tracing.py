"""`torch.fx.symbolic_trace`: a layer is one node, as an `nn.Linear` is."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

import pn_gpu as pn
from pn_gpu.nn import ParticleLinear, ParticleMLP


def test_a_layer_in_a_model_is_a_module_of_its_graph():
    model = nn.Sequential(nn.Linear(6, 8), ParticleMLP([8, 5, 4], potential="triangle"))
    graph = fx.symbolic_trace(model)
    targets = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    assert targets == ["0", "1.layers.0", "1.activations.0", "1.layers.1"]
    x = torch.randn(3, 6)
    torch.testing.assert_close(graph(x), model(x), rtol=0, atol=0)
    assert {name for name, _ in graph.named_parameters()} == {name for name, _ in model.named_parameters()}


def test_a_layer_alone_is_a_call_of_the_operator():
    layer = ParticleLinear(6, 4, bias=False, potential="triangle")
    graph = fx.symbolic_trace(layer)
    assert [node.target for node in graph.graph.nodes if node.op == "call_function"] == [pn.particle_linear]
    x = torch.randn(3, 6)
    torch.testing.assert_close(graph(x), layer(x), rtol=0, atol=0)
    with pytest.raises(ValueError, match="input_precision: got 'tf32' in a traced root"):
        fx.symbolic_trace(ParticleLinear(6, 4, input_precision="tf32"))
