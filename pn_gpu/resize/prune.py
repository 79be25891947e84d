"""Hidden particles removed, so that those that are left compute nearly the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.checks import check_choice, check_integer, check_number
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.resize.elimination import eliminate, eliminate_unscaled
from pn_gpu.resize.level import (
    HOMOGENEOUS,
    activation_name,
    contribution_gram,
    hidden_size,
    influences,
    moments,
    outgoing_rows,
    scales_activations,
    with_particles,
)

Array = Any
RULES = ("reconstruction", "influence")


def prune(
    network: ParticleNetwork,
    keep: int | float,
    x: Array | None = None,
    level: int = 1,
    rule: str = "reconstruction",
) -> ParticleNetwork:
    """A network without the least important particles of one hidden node set.

    What goes into the next layer is a sum of the particles' contributions, ``z = sum_j y_j w_j + b``. One after the
    other, that particle is removed whose contribution is best made up for by those that are left: these contribute
    more (or less), by least squares over the examples, which a longer dipole and a larger bias do without a new number.
    What the removed ones contribute on average goes into the bias of the next layer.

    Parameters
    ----------
    network : ParticleNetwork
    keep : int or float
        Particles to keep, 1 <= keep <= H, or as a float their share, 0 < keep <= 1.
    x : array [B, N], optional
        Examples to judge by, some hundred of them. Without any, particles go by the norm of their outgoing weights
        alone, and nothing is made up for.
    level : int, default 1
        Which hidden level of nodes, from 1 (the first) to L - 1 of L layers.
    rule : {"reconstruction", "influence"}, default "reconstruction"
        reconstruction: as above; it takes four matrices of H x H numbers (float64) and a time of the order of H^3.
        Behind shared particles or charges nobody can contribute more unless the activation is relu, leaky_relu or
        linear; of others those are removed whose contributions together are missed least. influence: those of the
        least ``a_j |w_j|``, the standard deviation of the activation times the norm of the outgoing weights; much
        worse, but for levels of ten thousands of particles.

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
    if x is None or rule == "influence":
        mean, deviation = moments(network, x, level)
        order = np.argsort(-influences(network, deviation, level), kind="stable")
        kept, shares = np.sort(order[:count]), np.ones(count)
    else:
        gram, mean = contribution_gram(network, x, level)
        if scales_activations(network) and activation_name(network, level) not in HOMOGENEOUS:
            kept, shares = eliminate_unscaled(gram, count), np.ones(count)
        else:
            kept, shares = eliminate(gram, count)
    result = with_particles(network, level, kept, shares)
    missing = np.ones(hidden)
    missing[kept] -= shares
    changed = np.flatnonzero(missing * mean)
    if len(changed):
        name = f"layers.{level}.bias"
        shift = (missing * mean)[changed] @ outgoing_rows(network, level, changed)
        result.parameters[name] = network.parameters[name] + network.backend.asarray(shift.astype(network.dtype))
    return result


def _count(name: str, value: int | float, total: int) -> int:
    """A number of particles, given as such or as a share of ``total``."""
    if isinstance(value, float):
        share = check_number(name, value, low=0, high=1, low_open=True)
        return max(round(share * total), 1)
    return check_integer(name, value, low=1, high=total)
