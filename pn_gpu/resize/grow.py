"""Hidden particles split in two, so that they compute nearly the same together."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.checks import check_integer, check_number
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.resize.level import (
    HOMOGENEOUS,
    activation_name,
    hidden_size,
    influences,
    moments,
    scales_activations,
    sets_of_level,
    with_particles,
)

Array = Any


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
        Examples to judge by which particles matter most: by the deviation of their activation times the norm of their
        outgoing weights, and without examples by that norm.
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
    hidden = hidden_size(network, level)
    to = check_integer("to", to, low=hidden)
    distance = check_number("distance", distance, low=0)
    rng = np.random.default_rng(check_integer("seed", seed, low=0))
    activation = activation_name(network, level)
    if scales_activations(network) and activation not in HOMOGENEOUS:
        raise ValueError(
            f"network: got the activation {activation!r} behind shared particles or charges, want"
            f" {', '.join(HOMOGENEOUS)} (or dipoles and shared=False): splitting a particle scales what goes into it"
        )
    order = np.argsort(-influences(network, moments(network, x, level).deviation, level), kind="stable")
    # Every particle in as many equal parts as its turn brings; neighbours in the list are parts of one.
    parts = np.full(hidden, to // hidden)
    parts[order[: to % hidden]] += 1
    source = np.repeat(np.arange(hidden), parts)
    result = with_particles(network, level, source, 1 / parts[source])
    offsets = _offsets(parts, network.dim, distance, rng)
    for index in sets_of_level(network, level):
        name = f"particles.{index}.positions"
        shift = network.backend.asarray(offsets.astype(network.dtype))
        result.parameters[name] = result.parameters[name] + shift
    return result


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
