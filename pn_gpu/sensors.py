"""Networks whose inputs are sensors with known places: where they are, and others in their stead after training.

The weights of such a network are a function of the place, so it can be asked what it makes of sensors that it was not
trained with. Readings x'_k at new places estimate those at the old ones, x_i = sum_k A_ik x'_k, and then

    z_j = sum_i x_i w_ij = sum_k x'_k w'_kj,    w'_kj = sum_i A_ik w_ij

A new sensor has one dipole for all its weights: that which comes nearest to them, by least squares over the outputs.
Where the potential hardly changes from a sensor to its neighbours it is sum_i A_ik v_i: every old sensor hands its
dipole to the new ones around it, as charges are given to the points of a grid in particle-mesh methods (Hockney and
Eastwood, 1988). The rows of A add up to 1, so the scale of z stays, however many sensors there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_choice, check_integer, check_number
from pn_gpu.interpolation import INTERPOLATIONS, interpolation_matrix
from pn_gpu.kernels.room import Particles
from pn_gpu.model.fixed_positions import check_positions
from pn_gpu.model.layers import ParticleLayer
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.operator import dense_weight

Array = np.ndarray[Any, Any]

# Outputs whose weights are made at a time: W is never stored.
OUTPUTS = 256
# Beside the mean curvature of the least squares: enough for components that no output sees.
RIDGE = 1e-6


def grid_positions(shape: int | Sequence[int], half_width: float = 2.0) -> Array:
    """Places on a regular grid about 0: pixels of an image, samples of a signal.

    They are the centres of equal cells that fill a box, so grids of other numbers of places lie in the same box.

    Parameters
    ----------
    shape : int or sequence of int
        Places along every axis: ``(28, 28)`` for an image of 28 rows and columns, ``40`` for a signal.
    half_width : float, default 2
        Half the longest side of the box, above 0, in widths of the potential; the cells are cubes. At 2 the places have
        a standard deviation of about 1.15.

    Returns
    -------
    ndarray of float64, [N, n]
        In the order of ``image.reshape(-1)``: the last axis runs fastest.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range or none.
    """
    numbers = [shape] if not isinstance(shape, Sequence) else list(shape)
    counts = [check_integer("shape", count, low=1) for count in numbers]
    if not counts:
        raise ValueError("shape: got no axis, want at least one")
    step = 2 * check_number("half_width", half_width, low=0, low_open=True) / max(counts)
    axes = [step * (np.arange(count) - (count - 1) / 2) for count in counts]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(math.prod(counts), len(counts))


def with_inputs(network: ParticleNetwork, positions: Any, interpolation: str = "kriging") -> ParticleNetwork:
    """A network for sensors at other places: some dropped, moved, or another grid; nothing is trained.

    Parameters
    ----------
    network : ParticleNetwork
        With places of its own (``positions=``) and the dipole model. It stays as it is. A field of dipoles
        (``dipole_places=``) is read at its places; the new sensors have free dipoles, since a dropped sensor's share
        goes to some of its neighbours and not to others, which no smooth field can follow.
    positions : array, [N', n]
        Places of the new sensors, in the units of the old ones: ``network.particles[0].positions[kept]`` where some
        are dropped, `grid_positions` for another grid.
    interpolation : {"kriging", "nearest"}, default "kriging"
        How readings at the old places follow from readings at the new ones; see `interpolation_matrix`, also for its
        cost: beyond some 5,000 sensors take "nearest".

    Returns
    -------
    ParticleNetwork
        It takes inputs [B, N'], in the order of ``positions``. A preprocessing of the old inputs is not taken over.

    Raises
    ------
    ValueError, TypeError
        If the network has no places of its own or another model, or ``positions`` do not fit.

    Examples
    --------
    >>> net = pn.ParticleNetwork([784, 128, 10], positions=pn.grid_positions((28, 28)), shared=False)
    >>> net.fit(x, y)                                                    # doctest: +SKIP
    >>> coarse = pn.with_inputs(net, pn.grid_positions((14, 14)))
    >>> coarse.sizes
    (196, 128, 10)
    """
    if not isinstance(network, ParticleNetwork):
        raise TypeError(f"network: got {type(network).__name__}, want a ParticleNetwork")
    if not network.has_fixed_inputs:
        raise ValueError("network: got one that trains its input positions, want one made with positions=")
    if network.model.name != "dipole":
        raise ValueError(f"network: got the model {network.model.name!r}, want 'dipole', whose inputs have any length")
    first = network.connections[0]
    assert isinstance(first, ParticleLayer)
    layer = Particles(*map(to_numpy, first.particles(network.parameters)))
    dipoles = new_dipoles(layer, network.potential, positions, interpolation)
    architecture = network.architecture()
    architecture["sizes"][0] = len(dipoles)
    architecture["positions"] = positions
    architecture.pop("dipole_places", None)
    result = ParticleNetwork(**architecture, seed=0, backend=network.backend, dtype=network.dtype)
    for name in result.parameters:
        if name != "particles.0.dipoles":
            result.parameters[name] = network.parameters[name]
    result.particles[0].dipoles = network.backend.asarray(dipoles.astype(network.dtype))
    return result


def new_dipoles(layer: Particles, potential: str, positions: Any, interpolation: str) -> Array:
    """The dipoles v' [N', d] of input sensors at ``positions`` [N', n], in float64.

    Parameters
    ----------
    layer : Particles
        r_in, v_in, r_out and v_out of the layer that has learnt, as NumPy arrays.
    potential : str
    positions, interpolation
        As `with_inputs` has them.

    Raises
    ------
    ValueError, TypeError
        If the positions or the name of the interpolation do not fit.
    """
    r_in, v_in, r_out, v_out = (np.asarray(a, np.float64) for a in layer)
    new = check_positions(positions, dim=r_in.shape[1])
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    hand_over = interpolation_matrix(new, r_in, interpolation).T  # [N', N]
    num, dim = len(new), v_in.shape[1]
    ones = np.ones((num, 1))
    gram, right = np.zeros((num, dim * dim)), np.zeros((num, dim))
    for start in range(0, len(r_out), OUTPUTS):
        r, v = r_out[start : start + OUTPUTS], v_out[start : start + OUTPUTS]
        wanted = hand_over @ dense_weight(r_in, v_in, r, v, potential)  # [N', some of M]
        k = dense_weight(new, ones, r, np.ones((len(r), 1)), potential)
        gram += k**2 @ (v[:, :, None] * v[:, None, :]).reshape(len(v), dim * dim)
        right += (wanted * k) @ v
    gram = gram.reshape(num, dim, dim)
    # Where the outputs say nothing of a component of the dipole, it is what was handed over.
    first = hand_over @ v_in
    ridge = RIDGE * np.trace(gram, axis1=1, axis2=2).mean() / dim or 1.0
    left = right - (gram @ first[:, :, None])[:, :, 0]
    return first + np.linalg.solve(gram + ridge * np.eye(dim), left[:, :, None])[:, :, 0]
