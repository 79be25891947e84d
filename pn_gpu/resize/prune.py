"""Fewer hidden particles that compute nearly the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_choice, check_integer, check_number
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.resize.elimination import eliminate, eliminate_unscaled
from pn_gpu.resize.level import (
    HOMOGENEOUS,
    HostArray,
    activation_name,
    contribution_gram,
    hidden_size,
    influences,
    moments,
    outgoing_rows,
    scales_activations,
    sets_of_level,
    with_particles,
)
from pn_gpu.resize.merge import merge

Array = Any
RULES = ("auto", "reconstruction", "merge", "influence")


def prune(
    network: ParticleNetwork,
    keep: int | float,
    x: Array | None = None,
    level: int = 1,
    rule: str = "auto",
) -> ParticleNetwork:
    """A network with fewer particles in one hidden node set, which computes nearly the same.

    What goes into the next layer is a sum of the particles' contributions, ``z = sum_j y_j w_j + b``.

    Parameters
    ----------
    network : ParticleNetwork
    keep : int or float
        Particles to keep, 1 <= keep <= H, or as a float their share, 0 < keep <= 1.
    x : array [B, N], optional
        Examples to judge by, some hundred of them; rule merge needs none.
    level : int, default 1
        Which hidden level of nodes, from 1 (the first) to L - 1 of L layers.
    rule : {"auto", "reconstruction", "merge", "influence"}, default "auto"
        reconstruction: one after the other, that particle is removed whose contribution to the examples is best made up
        for by those that are left. These contribute more or less, by least squares, which a longer dipole and a larger
        bias do without a new number. Behind shared particles or charges that takes relu, leaky_relu or linear; of other
        activations those are removed whose contributions together are missed least.
        merge: one after the other, the two particles that lie nearest become one; for dipoles behind relu, leaky_relu
        or linear. It does best where dipoles have few components.
        influence: those of the least ``a_j |w_j|`` are removed, the standard deviation of the activation (1 without
        examples) times the norm of the outgoing weights. Much worse, but the others take a few matrices of H x H
        numbers and a time of the order of H^3.
        auto: reconstruction with examples; without, merge where it can be, else influence.
        What removed particles contribute on average to the examples goes into the bias of the next layer.

    Returns
    -------
    ParticleNetwork

    Raises
    ------
    ValueError, TypeError
        If the network has no such level, or ``keep``, ``x`` or ``rule`` do not fit.
    """
    hidden = hidden_size(network, level)
    count = _count("keep", keep, hidden)
    check_choice("rule", rule, RULES)
    homogeneous = activation_name(network, level) in HOMOGENEOUS
    can_merge = homogeneous and network.model.name == "dipole"
    if rule == "auto":
        rule = "reconstruction" if x is not None else "merge" if can_merge else "influence"
    if rule == "merge":
        if not can_merge:
            raise ValueError(f"rule: got 'merge', which takes dipoles behind {', '.join(HOMOGENEOUS)}")
        return _with_merged(network, count, level)
    if rule == "influence":
        mean, deviation = moments(network, x, level)
        order = np.argsort(-influences(network, deviation, level), kind="stable")
        return keep_particles(network, level, np.sort(order[:count]), np.ones(count), mean)
    if x is None:
        raise ValueError("x: got None, want examples for the rule 'reconstruction'")
    gram, mean = contribution_gram(network, x, level)
    if homogeneous or not scales_activations(network):
        kept, shares = eliminate(gram, count)
    else:
        kept, shares = eliminate_unscaled(gram, count), np.ones(count)
    return keep_particles(network, level, kept, shares, mean)


def keep_particles(
    network: ParticleNetwork, level: int, kept: HostArray, shares: HostArray, mean: HostArray
) -> ParticleNetwork:
    """The network with the particles ``kept``, each contributing its share of what it did.

    What all contributed on average, by the mean [H] of the activations, is what the new bias makes of it.
    """
    result = with_particles(network, level, kept, shares)
    missing = np.array(mean)
    missing[kept] -= shares * mean[kept]
    changed = np.flatnonzero(missing)
    if len(changed):
        name = f"layers.{level}.bias"
        shift = missing[changed] @ outgoing_rows(network, level, changed)
        result.parameters[name] = network.parameters[name] + network.backend.asarray(shift.astype(network.dtype))
    return result


def _with_merged(network: ParticleNetwork, count: int, level: int) -> ParticleNetwork:
    sets, of_bias = sets_of_level(network, level), f"layers.{level - 1}.bias"
    names = [[f"particles.{index}.{kind}" for index in sets] for kind in ("positions", "dipoles")]
    result = with_particles(network, level, np.arange(count))

    def on_host(name: str) -> HostArray:
        return to_numpy(network.parameters[name]).astype(np.float64)

    positions, dipoles = ([on_host(name) for name in of_kind] for of_kind in names)
    places, vectors, bias = merge(positions, dipoles, on_host(of_bias), count)
    for name, value in zip([*names[0], *names[1], of_bias], [*places, *vectors, bias], strict=True):
        result.parameters[name] = network.backend.asarray(value.astype(network.dtype))
    return result


def _count(name: str, value: int | float, total: int) -> int:
    """A number of particles, given as such or as a share of ``total``."""
    if isinstance(value, float):
        share = check_number(name, value, low=0, high=1, low_open=True)
        return max(round(share * total), 1)
    return check_integer(name, value, low=1, high=total)
