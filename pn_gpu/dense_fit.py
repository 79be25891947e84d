"""From stored weights to particles: the node sets whose weights come nearest to given matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_integer, check_number
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.operator import particle_linear_vjp
from pn_gpu.training.optimizers import Adam
from pn_gpu.training.progress import Progress
from pn_gpu.training.schedules import OneCycle

Array = np.ndarray[Any, Any]

# Small beside the width of the Gaussian, and large enough that positions differ.
INITIAL_SPREAD = 0.2


class NodeSet(NamedTuple):
    """Positions [N, n] and dipoles [N, d] of one node set."""

    positions: Array
    dipoles: Array


@dataclass(frozen=True, eq=False)
class DenseFit:
    """What became of stored weights; ``print`` shows it as a table.

    Parameters
    ----------
    node_sets : list of NodeSet
        Inputs first. The output particles of one layer are the input particles of the next.
    errors : list of float
        |W - W'|_F / |W|_F of every layer.
    low_rank_errors : list of float
        The same for the best matrix of a rank that takes as many numbers as the two node sets of the layer (at least
        rank 1): what is lost by the usual way to save parameters.
    parameters, dense_parameters : int
        Numbers that the node sets hold, and that the matrices held; biases not counted.
    network : ParticleNetwork or None
        With the activations and biases of the network that was given; None where matrices were.
    """

    node_sets: list[NodeSet]
    errors: list[float]
    low_rank_errors: list[float]
    parameters: int
    dense_parameters: int
    network: ParticleNetwork | None = None

    def __str__(self) -> str:
        sizes = [len(node_set.positions) for node_set in self.node_sets]
        lines = [f"{self.parameters:,} numbers in place of {self.dense_parameters:,}"]
        for (num_in, num_out), error, low_rank in zip(pairwise(sizes), self.errors, self.low_rank_errors, strict=True):
            lines.append(f"{num_in} x {num_out}: error {error:.1%} of the weights; low rank of as many: {low_rank:.1%}")
        return "\n".join(lines)


def fit_to_dense(
    target: Any,
    dim: int = 3,
    dipole_dim: int | None = None,
    *,
    steps: int = 1000,
    lr: float = 0.1,
    seed: int = 0,
    progress: bool | None = None,
) -> DenseFit:
    """Particles whose weights ``w_ij = (v_i . v_j) exp(-|r_i - r_j|^2)`` come nearest to stored ones.

    It minimises ``sum_l |W_l - W'_l|_F^2 / |W_l|_F^2`` over all node sets by Adam. Weights that were trained freely
    rarely are those of particles: read the errors. A network loses less of its accuracy than of its weights when it is
    trained on for a while, best with the old network's outputs as targets:
    ``fit.network.fit(x, dense.predict_proba(x))``.

    Parameters
    ----------
    target : array [N, M], sequence of arrays, or DenseNetwork
        A weight matrix as `pn_gpu.dense_weight` returns it (an ``nn.Linear`` holds its transpose), the matrices of
        several layers one after the other, or a network.
    dim : int, default 3
        Dimensions n of the positions, at least 1.
    dipole_dim : int, optional
        Dimensions d of the dipoles, at least 1; by default those of the positions.
    steps : int, default 1000
        Steps of the fit, at least 1; each takes as long as a training step on as many examples as the widest layer has
        inputs.
    lr : float, default 0.1
        Highest learning rate, above 0; of one cycle.
    seed : int, default 0
        Of the start.
    progress : bool or None, default None
        Whether to show a bar; None shows it where standard error is a terminal.

    Returns
    -------
    DenseFit

    Raises
    ------
    ValueError, TypeError
        If matrices do not follow one another, are empty, not finite or all zeros, or a number is out of range.
    """
    weights = _weights(target)
    dim = check_integer("dim", dim, low=1)
    dipole_dim = dim if dipole_dim is None else check_integer("dipole_dim", dipole_dim, low=1)
    steps = check_integer("steps", steps, low=1)
    schedule = OneCycle(check_number("lr", lr, low=0, low_open=True))
    rng = np.random.default_rng(check_integer("seed", seed, low=0))
    flat, node_sets = _start(weights, dim, dipole_dim, rng)
    scales = _unit_dipoles(node_sets)
    scaled = [w / (a * b) for w, (a, b) in zip(weights, pairwise(scales), strict=True)]
    optimizer = Adam(schedule)
    state, bar = optimizer.start(flat), Progress(progress, steps, 0, 1)
    best, best_loss = flat.copy(), np.inf
    try:
        for step in range(steps + 1):
            errors, gradient = _errors_and_gradient(scaled, node_sets)
            loss = sum(error**2 for error in errors)
            if loss < best_loss:
                best[:], best_loss = flat, loss
            if step < steps:
                optimizer.update(flat, gradient, state, schedule(step, steps), step)
                bar.step()
    finally:
        bar.close()
    flat[:] = best
    for (_, dipoles), scale in zip(node_sets, scales, strict=True):
        dipoles *= scale
    errors, _ = _errors_and_gradient(weights, node_sets)
    numbers = [(dim + dipole_dim) * sum(w.shape) for w in weights]
    return DenseFit(
        node_sets=[NodeSet(*(a.copy() for a in node_set)) for node_set in node_sets],
        errors=errors,
        low_rank_errors=[_low_rank_error(w, count) for w, count in zip(weights, numbers, strict=True)],
        parameters=flat.size,
        dense_parameters=sum(w.size for w in weights),
        network=_as_network(target, node_sets, dim, dipole_dim) if isinstance(target, DenseNetwork) else None,
    )


def _weights(target: Any) -> list[Array]:
    """The matrices in float32, checked."""
    if isinstance(target, DenseNetwork):
        target = [layer.weight for layer in target.layers]
    matrices = list(target) if isinstance(target, Sequence) else [target]
    if not matrices:
        raise ValueError("target: got no matrix, want at least one [N, M]")
    weights: list[Array] = []
    for index, matrix in enumerate(matrices):
        name = f"target[{index}]" if len(matrices) > 1 else "target"
        weight = to_numpy(matrix)
        if weight.ndim != 2 or 0 in weight.shape:
            raise ValueError(f"{name}: got shape {weight.shape}, want [N, M] with N and M at least 1")
        if not np.issubdtype(weight.dtype, np.floating):
            raise TypeError(f"{name}: got dtype {weight.dtype}, want a floating one")
        weight = weight.astype(np.float32)
        if not np.isfinite(weight).all() or not weight.any():
            raise ValueError(f"{name}: got weights that are not finite or all 0, want finite ones")
        if weights and weights[-1].shape[1] != len(weight):
            raise ValueError(f"{name}: got {len(weight)} inputs, want {weights[-1].shape[1]}, the outputs before it")
        weights.append(weight)
    return weights


def _start(weights: list[Array], dim: int, dipole_dim: int, rng: np.random.Generator) -> tuple[Array, list[NodeSet]]:
    """One vector of all numbers, and the node sets as views of it.

    Particles close together have k(s) near 1, so that W' is about the product of their dipoles: these start as the best
    matrix of rank d of the first layer, and as the least squares solution of every further one. From dipoles drawn at
    random the fit ends far from the best one, even where W is that of particles.
    """
    sizes = [len(weights[0]), *(w.shape[1] for w in weights)]
    flat = np.zeros((dim + dipole_dim) * sum(sizes), np.float32)
    node_sets, start = [], 0
    for num in sizes:
        middle, stop = start + num * dim, start + num * (dim + dipole_dim)
        node_sets.append(NodeSet(flat[start:middle].reshape(num, dim), flat[middle:stop].reshape(num, dipole_dim)))
        start = stop
    for positions, _ in node_sets:
        positions[:] = INITIAL_SPREAD * rng.standard_normal(positions.shape)
    left, values, right = np.linalg.svd(weights[0], full_matrices=False)
    rank = min(dipole_dim, len(values))
    node_sets[0].dipoles[:, :rank] = left[:, :rank] * values[:rank] ** 0.5
    node_sets[1].dipoles[:, :rank] = right[:rank].T * values[:rank] ** 0.5
    for weight, (inputs, outputs) in zip(weights[1:], pairwise(node_sets[1:]), strict=True):
        outputs.dipoles[:] = np.linalg.lstsq(inputs.dipoles, weight, rcond=None)[0].T
    return flat, node_sets


def _unit_dipoles(node_sets: list[NodeSet]) -> list[np.float32]:
    """The size of the dipoles of every set, by which they are divided: one learning rate then fits all numbers."""
    scales = []
    for _, dipoles in node_sets:
        scale = np.sqrt(np.mean(dipoles**2), dtype=np.float32)
        scale = scale if scale > 0 else np.float32(1)
        dipoles /= scale
        scales.append(scale)
    return scales


def _product(inputs: NodeSet, outputs: NodeSet) -> tuple[Array, Any]:
    """W' [N, M], and the way back of its gradient."""
    identity = np.eye(len(inputs.positions), dtype=np.float32)
    return particle_linear_vjp(identity, *inputs, *outputs, method="direct")


def _errors_and_gradient(weights: list[Array], node_sets: list[NodeSet]) -> tuple[list[float], Array]:
    """Relative errors of all layers, and the gradient of the sum of their squares, laid out like the numbers."""
    errors = []
    parts = [NodeSet(np.zeros_like(s.positions), np.zeros_like(s.dipoles)) for s in node_sets]
    for index, weight in enumerate(weights):
        made, pull_back = _product(node_sets[index], node_sets[index + 1])
        size = float(np.linalg.norm(weight))
        difference = made - weight
        errors.append(float(np.linalg.norm(difference)) / size)
        gradient = pull_back(difference * np.float32(2 / size**2), need_dx=False)
        parts[index].positions[:] += gradient.dr_in
        parts[index].dipoles[:] += gradient.dv_in
        parts[index + 1].positions[:] += gradient.dr_out
        parts[index + 1].dipoles[:] += gradient.dv_out
    return errors, np.concatenate([a.ravel() for part in parts for a in part])


def _low_rank_error(weight: Array, numbers: int) -> float:
    """|W - W_R|_F / |W|_F of the best matrix of rank R, where R columns and rows are ``numbers`` numbers."""
    rank = max(numbers // sum(weight.shape), 1)
    values = np.linalg.svd(weight, compute_uv=False)
    return float(np.linalg.norm(values[rank:]) / np.linalg.norm(values))


def _as_network(dense: DenseNetwork, node_sets: list[NodeSet], dim: int, dipole_dim: int) -> ParticleNetwork:
    """A particle network of these node sets with the activations and biases of ``dense``."""
    network = ParticleNetwork(
        **dense.architecture(), dim=dim, dipole_dim=dipole_dim, seed=0, backend=dense.backend, dtype=dense.dtype
    )
    for index, node_set in enumerate(node_sets):
        for name, value in node_set._asdict().items():
            network.parameters[f"particles.{index}.{name}"] = dense.backend.asarray(value)
    for index in range(len(node_sets) - 1):
        network.parameters[f"layers.{index}.bias"] = dense.parameters[f"layers.{index}.bias"]
    return network
