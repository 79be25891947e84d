"""Names and shapes of a network's parameters, by arithmetic: for any size, before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pn_gpu.model.node_models import get_node_model

Shapes = dict[str, tuple[int, ...]]


def particle_shapes(
    sizes: Sequence[int],
    dim: int,
    model: str = "dipole",
    shared: bool = True,
    dipole_dim: int | None = None,
    fixed_positions: bool = False,
    num_dipole_places: int | None = None,
) -> Shapes:
    """Names and shapes of a `ParticleNetwork`'s parameters; fixed positions of its inputs are none.

    ``num_dipole_places`` is how many places the dipoles of the inputs are interpolated between, if they are.
    """
    if shared:
        node_sets = [(num, index > 0) for index, num in enumerate(sizes)]
    else:
        node_sets = [node_set for n_in, n_out in pairwise(sizes) for node_set in ((n_in, False), (n_out, True))]
    node_model = get_node_model(model)
    shapes = {
        f"particles.{index}.{name}": shape
        for index, (num, is_output) in enumerate(node_sets)
        for name, shape in node_model.shapes(num, dim, node_model.check_dipole_dim(dipole_dim, dim), is_output).items()
    }
    if num_dipole_places is not None:
        del shapes["particles.0.dipoles"]
        d = node_model.check_dipole_dim(dipole_dim, dim)
        shapes = {"particles.0.dipole_values": (num_dipole_places, d)} | shapes
    if fixed_positions:
        del shapes["particles.0.positions"]
    return shapes | {f"layers.{index}.bias": (num,) for index, num in enumerate(sizes[1:])}


def dense_shapes(sizes: Sequence[int]) -> Shapes:
    """Names and shapes of a `DenseNetwork`'s parameters."""
    shapes: Shapes = {}
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        shapes |= {f"layers.{index}.weight": (n_in, n_out), f"layers.{index}.bias": (n_out,)}
    return shapes
