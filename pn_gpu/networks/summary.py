"""What a network is made of, as a text."""

from __future__ import annotations

import math

from pn_gpu.model.counts import count_dense_parameters
from pn_gpu.model.model import Model


def summarise(network: Model) -> str:
    """Node sets and layers with their parameters, beside those of dense layers of the same widths."""
    shapes = {name: slot.shape for name, slot in network.parameters.layout.slots.items()}
    rows = [("", "nodes", "activation", "parameters", "", "dense")]
    for index in range(network.parameters.layout.count_groups("particles")):
        own = {name: shape for name, shape in shapes.items() if name.startswith(f"particles.{index}.")}
        num_nodes = str(network.parameters[f"particles.{index}.positions"].shape[0])
        count, text = _parameters(own)
        rows.append((f"particles[{index}]", num_nodes, "", count, text + _fixed(network, index), ""))
    for layer in network.connections:
        own = {name: shape for name, shape in shapes.items() if name.startswith(f"{layer.prefix}.")}
        dense = f"{count_dense_parameters([layer.num_in, layer.num_out]):,}"
        nodes = f"{layer.num_in} to {layer.num_out}"
        rows.append((f"layers[{layer.index}]", nodes, layer.activation.name, *_parameters(own), dense))
    total, dense_total = network.num_parameters, count_dense_parameters(network.sizes)
    rows.append(("in all", "", "", f"{total:,}", "", f"{dense_total:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [repr(network)]
    for row in rows:
        cells = [
            text.rjust(width) if column in (3, 5) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    if total != dense_total:
        lines.append(f"A dense network of these widths has {dense_total / total:.1f} times as many parameters.")
    return "\n".join(lines)


def _fixed(network: Model, index: int) -> str:
    """What a node set has beside its parameters."""
    start = f"particles.{index}."
    fixed = {name: value for name, value in network.parameters.fixed.items() if name.startswith(start)}
    shapes = ", ".join(f"{name.removeprefix(start)} {list(value.shape)}" for name, value in fixed.items())
    return f"; fixed, not counted: {shapes}" if fixed else ""


def _parameters(shapes: dict[str, tuple[int, ...]]) -> tuple[str, str]:
    """How many there are, and of what shapes."""
    count = sum(math.prod(shape) for shape in shapes.values())
    return f"{count:,}", ", ".join(f"{name.split('.')[2]} {list(shape)}" for name, shape in shapes.items())
