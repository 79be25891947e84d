"""Motions of the particles that leave every weight as it is, taken out of a gradient.

Weights depend on differences of positions (and of phases) only. The paper subtracts from the gradient of the positions
its mean over the particles ("mean translational gradient"); phases likewise. The rotation of all positions about their
centre, which leaves the weights too, can be taken out in the same way. Node sets that are connected by layers move
together; unconnected ones (unshared layers) on their own. Where some positions are fixed no such motion is left.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.layers import ParticleLayer
from pn_gpu.model.model import Model
from pn_gpu.model.parameters import ParameterVector

Array = Any


def connected_node_sets(network: Model) -> list[list[int]]:
    """The node sets of a network, grouped by what is connected; empty for a dense network."""
    groups: list[list[int]] = []
    for layer in network.connections:
        if not isinstance(layer, ParticleLayer):
            continue
        if groups and layer.input_set in groups[-1]:
            groups[-1].append(layer.output_set)
        else:
            groups.append([layer.input_set, layer.output_set])
    return groups


def remove_translation(network: Model, gradient: ParameterVector) -> None:
    """Subtract the mean over connected particles from the gradients of positions and phases."""
    for sets in connected_node_sets(network):
        for name in ("positions", "phases"):
            names = [f"particles.{index}.{name}" for index in sets]
            free = [full for full in names if full in gradient.layout.slots]
            if free and not network.parameters.fixed.keys() & set(names):
                _subtract_mean(gradient, free)


def _subtract_mean(gradient: ParameterVector, names: list[str]) -> None:
    count = sum(gradient[name].shape[0] for name in names)
    xp = namespace_of(gradient.flat)
    mean = sum(xp.sum(gradient[name], axis=0) for name in names) / count
    for name in names:
        gradient.add(name, -mean)


def remove_rotation(network: Model, gradient: ParameterVector) -> None:
    """Subtract from the gradient of the positions its part along rotations about the centre.

    A rotation in the plane of axes a and b moves a particle at r (from the centre) along (-r_b, r_a). The part along
    all n (n - 1) / 2 of them is found by least squares.
    """
    xp = network.backend.xp
    for sets in connected_node_sets(network):
        names = [f"particles.{index}.positions" for index in sets]
        if network.parameters.fixed.keys() & set(names):
            continue
        r = xp.concat([network.parameters[name] for name in names], axis=0)
        g = xp.concat([gradient[name] for name in names], axis=0)
        r = r - xp.mean(r, axis=0, keepdims=True)
        planes = list(combinations(range(r.shape[1]), 2))
        if not planes:
            continue
        motions = [_rotation(xp, r, a, b) for a, b in planes]
        along = np.array([float(xp.sum(motion * g)) for motion in motions])
        gram = np.array([[float(xp.sum(one * other)) for other in motions] for one in motions])
        factors = np.linalg.lstsq(gram, along, rcond=None)[0]
        for factor, motion in zip(factors, motions, strict=True):
            g = g - float(factor) * motion
        start = 0
        for name in names:
            stop = start + gradient[name].shape[0]
            gradient[name] = g[start:stop, :]
            start = stop


def _rotation(xp: Any, r: Array, a: int, b: int) -> Array:
    """The motion [N, n] of particles at r under a rotation in the plane of axes a and b."""
    columns = [xp.zeros_like(r[:, 0])] * r.shape[1]
    columns[a], columns[b] = -r[:, b], r[:, a]
    return xp.stack(columns, axis=1)
