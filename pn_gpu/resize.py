"""Networks of other widths that compute nearly the same: hidden particles removed, or split in two.

A particle network holds a few numbers for every node, so its width can be changed when it is trained, on the device
that it runs on. The functions return new networks and leave the one they are given as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_integer, check_number
from pn_gpu.model.examples import as_inputs, batch_slices
from pn_gpu.model.layers import ParticleLayer
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.operator import dense_weight
from pn_gpu.training.passes import forward_pass

Array = Any

# Rows of W made at a time to measure weights: W is never stored.
ROWS = 256
# What may come behind a particle whose parts scale what goes into it: phi(a z) = a phi(z) for a > 0.
HOMOGENEOUS = ("relu", "leaky_relu", "linear")


def prune(network: ParticleNetwork, keep: int | float, x: Array | None = None, level: int = 1) -> ParticleNetwork:
    """A network without the least important particles of one hidden node set.

    A particle j counts for ``a_j |w_j|``: the standard deviation of its activation over the examples times the norm of
    its outgoing weights. What the removed ones contribute on average goes into the bias of the next layer.

    Parameters
    ----------
    network : ParticleNetwork
    keep : int or float
        Particles to keep, 1 <= keep <= H, or as a float their share, 0 < keep <= 1.
    x : array [B, N], optional
        Examples to judge by, some hundred of them. Without any all activations count as alike, and no bias is mended.
    level : int, default 1
        Which hidden level of nodes, from 1 (the first) to L - 1 of L layers.

    Returns
    -------
    ParticleNetwork

    Raises
    ------
    ValueError, TypeError
        If the network has no such level, or ``keep`` or ``x`` do not fit.
    """
    hidden = _hidden_size(network, level)
    count = _count("keep", keep, hidden)
    deviation, mean = _activations(network, x, level)
    order = np.argsort(-deviation * _outgoing_norms(network, level), kind="stable")
    kept, removed = np.sort(order[:count]), np.sort(order[count:])
    result = _with_particles(network, level, kept, np.ones(count))
    if x is not None and len(removed):
        weights = to_numpy(_outgoing_rows(network, level, removed))
        bias = result.parameters[f"layers.{level}.bias"]
        shift = (mean[removed] @ weights).astype(network.dtype)
        result.parameters[f"layers.{level}.bias"] = bias + network.backend.asarray(shift)
    return result


def grow(
    network: ParticleNetwork,
    to: int,
    x: Array | None = None,
    level: int = 1,
    distance: float = 0.01,
    seed: int = 0,
) -> ParticleNetwork:
    """A network with more particles in one hidden node set: the most important ones are split in two.

    The halves lie at ``distance`` on both sides of the old particle, and each carries half of what it contributed: the
    function changes by about the square of the distance, and at 0 not at all (but then the halves never part in
    training). A shared particle's dipole makes its incoming and its outgoing weights, and a charge the incoming ones
    alone, so that what goes into the parts is scaled, which only an activation with phi(a z) = a phi(z) can bear.

    Parameters
    ----------
    network : ParticleNetwork
    to : int
        Particles that the level is to have, at least as many as it has.
    x : array [B, N], optional
        Examples to judge by which particles matter most, as in `prune`.
    level : int, default 1
        Which hidden level of nodes.
    distance : float, default 0.01
        At least 0.
    seed : int, default 0
        Of the directions in which the halves part.

    Returns
    -------
    ParticleNetwork

    Raises
    ------
    ValueError, TypeError
        If the network has no such level, a number is out of range, or a shared node set or one of charges is followed
        by an activation that is not relu, leaky_relu or linear.
    """
    hidden = _hidden_size(network, level)
    to = check_integer("to", to, low=hidden)
    distance = check_number("distance", distance, low=0)
    rng = np.random.default_rng(check_integer("seed", seed, low=0))
    activation = network.architecture()["activation"][level - 1]
    if _scales_activations(network) and activation not in HOMOGENEOUS:
        raise ValueError(
            f"network: got the activation {activation!r} behind shared particles or charges, want"
            f" {', '.join(HOMOGENEOUS)} (or dipoles and shared=False): splitting a particle scales what goes into it"
        )
    deviation, _ = _activations(network, x, level)
    order = np.argsort(-deviation * _outgoing_norms(network, level), kind="stable")
    # Every particle in as many equal parts as its turn brings; neighbours in the list are parts of one.
    parts = np.full(hidden, to // hidden)
    parts[order[: to % hidden]] += 1
    source = np.repeat(np.arange(hidden), parts)
    result = _with_particles(network, level, source, parts[source])
    offsets = _offsets(parts, network.dim, distance, rng)
    for index in _sets_of_level(network, level):
        name = f"particles.{index}.positions"
        shift = network.backend.asarray(offsets.astype(network.dtype))
        result.parameters[name] = result.parameters[name] + shift
    return result


def _hidden_size(network: ParticleNetwork, level: int) -> int:
    if not isinstance(network, ParticleNetwork):
        raise TypeError(f"network: got {type(network).__name__}, want a ParticleNetwork")
    if len(network.sizes) < 3:
        raise ValueError(f"network: got {network.sizes}, want at least one hidden level of nodes")
    return network.sizes[check_integer("level", level, low=1, high=len(network.sizes) - 2)]


def _count(name: str, value: int | float, total: int) -> int:
    """A number of particles, given as such or as a share of ``total``."""
    if isinstance(value, float):
        share = check_number(name, value, low=0, high=1, low_open=True)
        return max(round(share * total), 1)
    return check_integer(name, value, low=1, high=total)


def _sets_of_level(network: ParticleNetwork, level: int) -> list[int]:
    """The node sets of a hidden level: one if it is shared, else those of the layers below and above."""
    return [level] if network.shared else [2 * level - 1, 2 * level]


def _activations(network: ParticleNetwork, x: Array | None, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation and mean of the activations of a level, [H] each; ones and zeros without examples."""
    hidden = network.sizes[level]
    if x is None:
        return np.ones(hidden), np.zeros(hidden)
    x = as_inputs(x, network)
    if len(x) == 0:
        raise ValueError("x: got no examples, want at least one")
    squares, sums = np.zeros(hidden), np.zeros(hidden)
    for rows in batch_slices(len(x), ROWS):
        y = to_numpy(forward_pass(network, x[rows])[level - 1].y).astype(np.float64)
        squares += (y**2).sum(0)
        sums += y.sum(0)
    mean = sums / len(x)
    return np.sqrt(np.maximum(squares / len(x) - mean**2, 0)), mean


def _outgoing_norms(network: ParticleNetwork, level: int) -> np.ndarray:
    """|w_j| over the outputs of the next layer, [H]."""
    hidden = network.sizes[level]
    norms = [
        np.linalg.norm(to_numpy(_outgoing_rows(network, level, np.arange(start, min(start + ROWS, hidden)))), axis=1)
        for start in range(0, hidden, ROWS)
    ]
    return np.concatenate(norms)


def _outgoing_rows(network: ParticleNetwork, level: int, rows: np.ndarray) -> Array:
    """Some rows of the weight matrix of the layer above a level."""
    layer = network.connections[level]
    assert isinstance(layer, ParticleLayer)
    r_in, v_in, r_out, v_out = layer.particles(network.parameters)
    index = network.backend.asarray(rows)
    return dense_weight(r_in[index], v_in[index], r_out, v_out, network.potential)


def _with_particles(network: ParticleNetwork, level: int, source: np.ndarray, parts: np.ndarray) -> ParticleNetwork:
    """The network with the particles ``source`` of a level, each one of ``parts`` equal parts of an old one."""
    architecture = network.architecture()
    architecture["sizes"][level] = len(source)
    result = ParticleNetwork(**architecture, seed=0, backend=network.backend, dtype=network.dtype)
    index, sets = network.backend.asarray(source), _sets_of_level(network, level)
    for name in result.parameters:
        value = network.parameters[name]
        kind, number, field = name.split(".")
        if kind == "particles" and int(number) in sets:
            value = value[index]
            scale = _scale(network, field, int(number) == sets[-1], parts)
        elif kind == "layers" and int(number) == level - 1:
            value = value[index]
            scale = _bias_scale(network, parts)
        else:
            scale = None
        if scale is not None:
            factor = network.backend.asarray(scale.astype(network.dtype))
            value = value * (factor[:, None] if value.ndim == 2 else factor)
        result.parameters[name] = value
    return result


def _scales_activations(network: ParticleNetwork) -> bool:
    """Whether parts contribute less by smaller activations: where what goes out cannot be scaled on its own."""
    return network.shared or network.model.name == "charge_phase"


def _scale(network: ParticleNetwork, field: str, is_input: bool, parts: np.ndarray) -> np.ndarray | None:
    """By what the numbers of a particle's parts are multiplied, so that together they contribute what it did."""
    if field == "charges":
        return 1 / parts  # of what goes in; phases make what goes out
    if field == "dipoles" and network.shared:
        return 1 / np.sqrt(parts)  # both of what goes in and of what goes out
    if field == "dipoles" and is_input:
        return 1 / parts
    return None


def _bias_scale(network: ParticleNetwork, parts: np.ndarray) -> np.ndarray | None:
    if not _scales_activations(network):
        return None
    return 1 / parts if network.model.name == "charge_phase" else 1 / np.sqrt(parts)


def _offsets(parts: np.ndarray, dim: int, distance: float, rng: np.random.Generator) -> np.ndarray:
    """Where the parts of every particle lie beside it, [sum of parts, n]: their mean is 0."""
    offsets = np.zeros((int(parts.sum()), dim))
    ends = np.cumsum(parts)
    for stop, count in zip(ends, parts, strict=True):
        if count > 1:
            directions = rng.standard_normal((count, dim))
            directions -= directions.mean(0)
            offsets[stop - count : stop] = distance * directions / max(np.sqrt((directions**2).sum(1).mean()), 1e-12)
    return offsets
