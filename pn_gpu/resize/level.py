"""One hidden level of nodes: its particles, what they contribute to the next level, and networks with others in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_integer
from pn_gpu.model.examples import as_inputs, batch_slices
from pn_gpu.model.layers import ParticleLayer
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.operator import dense_weight
from pn_gpu.training.passes import forward_pass

Array = Any
HostArray = np.ndarray[Any, Any]

# Rows or columns of W, or rows of activations, made at a time: neither is ever stored whole.
ROWS = 256
# What may come behind a particle whose share scales what goes into it: phi(a z) = a phi(z) for a > 0.
HOMOGENEOUS = ("relu", "leaky_relu", "linear")


class Moments(NamedTuple):
    """Mean [H] and standard deviation [H] of the activations of a level over examples."""

    mean: HostArray
    deviation: HostArray


def hidden_size(network: ParticleNetwork, level: int) -> int:
    """How many particles the hidden level has, of a network that has it."""
    if not isinstance(network, ParticleNetwork):
        raise TypeError(f"network: got {type(network).__name__}, want a ParticleNetwork")
    if len(network.sizes) < 3:
        raise ValueError(f"network: got {network.sizes}, want at least one hidden level of nodes")
    return network.sizes[check_integer("level", level, low=1, high=len(network.sizes) - 2)]


def sets_of_level(network: ParticleNetwork, level: int) -> list[int]:
    """The node sets of a hidden level: one if it is shared, else those of the layers below and above."""
    return [level] if network.shared else [2 * level - 1, 2 * level]


def activation_name(network: ParticleNetwork, level: int) -> str:
    name: str = network.architecture()["activation"][level - 1]
    return name


def scales_activations(network: ParticleNetwork) -> bool:
    """Whether a particle's share is made by smaller activations: where what goes out cannot be scaled on its own.

    A shared particle's dipole makes its incoming and its outgoing weights, and a charge the incoming ones alone.
    """
    return network.shared or network.model.name == "charge_phase"


def examples(x: Array, network: ParticleNetwork) -> Array:
    """Checked inputs, at least one."""
    x = as_inputs(x, network)
    if len(x) == 0:
        raise ValueError("x: got no examples, want at least one")
    return x


def moments(network: ParticleNetwork, x: Array | None, level: int) -> Moments:
    """Of the activations; zeros and ones without examples."""
    hidden = network.sizes[level]
    if x is None:
        return Moments(np.zeros(hidden), np.ones(hidden))
    x = examples(x, network)
    sums, squares = np.zeros(hidden), np.zeros(hidden)
    for y in _activations(network, x, level):
        sums += y.sum(0)
        squares += (y**2).sum(0)
    mean = sums / len(x)
    return Moments(mean, np.sqrt(np.maximum(squares / len(x) - mean**2, 0)))


def influences(network: ParticleNetwork, deviation: HostArray, level: int) -> HostArray:
    """``a_j |w_j|`` [H]: the deviation of every activation times the norm of its outgoing weights."""
    starts = range(0, network.sizes[level], ROWS)
    norms = [np.linalg.norm(outgoing_rows(network, level, slice(start, start + ROWS)), axis=1) for start in starts]
    return deviation * np.concatenate(norms)


def contribution_gram(network: ParticleNetwork, x: Array, level: int) -> tuple[HostArray, HostArray]:
    """How alike the contributions of particles are [H, H], and the mean activations [H].

    Particle j contributes y_bj w_jk to z_bk of the next layer. With the mean over the examples removed, the scalar
    products of two such contributions are ``G_jl = mean_b(y_bj y_bl) sum_k(w_jk w_lk)``.
    """
    hidden = network.sizes[level]
    x = examples(x, network)
    sums, products = np.zeros(hidden), np.zeros((hidden, hidden))
    for y in _activations(network, x, level):
        sums += y.sum(0)
        products += y.T @ y
    mean = sums / len(x)
    products /= len(x)
    products -= np.outer(mean, mean)
    overlaps = np.zeros((hidden, hidden))
    for start in range(0, network.sizes[level + 1], ROWS):
        weights = _outgoing_columns(network, level, slice(start, start + ROWS))
        overlaps += weights @ weights.T
    products *= overlaps
    return products, mean


def _activations(network: ParticleNetwork, x: Array, level: int) -> Any:
    """Those of a level [ROWS, H], some examples at a time."""
    for rows in batch_slices(len(x), ROWS):
        yield _on_host(forward_pass(network, x[rows])[level - 1].y)


def outgoing_rows(network: ParticleNetwork, level: int, rows: slice | HostArray) -> HostArray:
    """Some rows of the weight matrix of the layer above a level."""
    r_in, v_in, r_out, v_out = _particles_above(network, level)
    index = rows if isinstance(rows, slice) else network.backend.asarray(rows)
    return _on_host(dense_weight(r_in[index], v_in[index], r_out, v_out, network.potential))


def _outgoing_columns(network: ParticleNetwork, level: int, columns: slice) -> HostArray:
    r_in, v_in, r_out, v_out = _particles_above(network, level)
    return _on_host(dense_weight(r_in, v_in, r_out[columns], v_out[columns], network.potential))


def _particles_above(network: ParticleNetwork, level: int) -> tuple[Array, Array, Array, Array]:
    layer = network.connections[level]
    assert isinstance(layer, ParticleLayer)
    return layer.particles(network.parameters)


def _on_host(values: Array) -> HostArray:
    return to_numpy(values).astype(np.float64)


def with_particles(
    network: ParticleNetwork, level: int, source: HostArray, shares: HostArray | None = None
) -> ParticleNetwork:
    """The network with the particles ``source`` of a level, each contributing its share of what the old one did.

    Where `scales_activations`, shares other than 1 are true for activations that are `HOMOGENEOUS` only.
    """
    architecture = network.architecture()
    architecture["sizes"][level] = len(source)
    result = ParticleNetwork(**architecture, seed=0, backend=network.backend, dtype=network.dtype)
    index, sets = network.backend.asarray(source), sets_of_level(network, level)
    for name in result.parameters:
        value = network.parameters[name]
        kind, number, field = name.split(".")
        power = 0.0
        if kind == "particles" and int(number) in sets:
            value = value[index]
            power = _particle_power(network, field, int(number) == sets[-1])
        elif kind == "layers" and int(number) == level - 1:
            value = value[index]
            power = _bias_power(network)
        if shares is not None and power:
            factor = network.backend.asarray((shares**power).astype(network.dtype))
            value = value * (factor[:, None] if value.ndim == 2 else factor)
        result.parameters[name] = value
    return result


def _particle_power(network: ParticleNetwork, field: str, is_input: bool) -> float:
    """By which power of its share a number of a particle is multiplied."""
    if field == "charges":
        return 1.0  # of what goes in; phases make what goes out
    if field == "dipoles" and network.shared:
        return 0.5  # both of what goes in and of what goes out
    return 1.0 if field == "dipoles" and is_input else 0.0


def _bias_power(network: ParticleNetwork) -> float:
    if not scales_activations(network):
        return 0.0
    return 1.0 if network.model.name == "charge_phase" else 0.5
