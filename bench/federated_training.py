"""Simulated federated averaging: clients one after the other, the same start and the same steps for all networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.compressed import FAMILIES, Shape
from bench.compressed.family import Family
from bench.equal_parameters_data import Split

BATCH_SIZE = 50
HIDDEN = 64


class Kind(NamedTuple):
    """A network to average, and whether particles' positions stay where they are at the start."""

    family: Family
    shape: Callable[[tuple[int, int]], Shape]
    positions_stay: bool = False


class Outcome(NamedTuple):
    """Test accuracy between 0 and 1 after every round; numbers of the network, and those that travel."""

    accuracies: list[float]
    parameters: int
    travelling: int


def _wide(sizes: tuple[int, int]) -> Shape:
    return Shape(HIDDEN, 1)


PARTICLES = FAMILIES["particles n=2 d=4"]


def _like_particles(family: Family) -> Callable[[tuple[int, int]], Shape]:
    """The widest network of the family with at most `HIDDEN` nodes and no more numbers than the particles."""

    def shape(sizes: tuple[int, int]) -> Shape:
        budget = PARTICLES.parameters(*sizes, _wide(sizes))
        fitting = [shape for shape in family.shapes(*sizes, budget) if shape.hidden <= HIDDEN]
        return max(fitting, key=lambda shape: shape.hidden)

    return shape


NETWORKS = {
    "particles": Kind(PARTICLES, _wide),
    "particles, positions stay": Kind(PARTICLES, _wide, positions_stay=True),
    "low rank": Kind(FAMILIES["low rank"], _like_particles(FAMILIES["low rank"])),
    "FedPara": Kind(FAMILIES["FedPara"], _like_particles(FAMILIES["FedPara"])),
    "dense": Kind(FAMILIES["dense"], _wide),
}


def deal_out(y: np.ndarray, deal: str, clients: int, seed: int) -> list[np.ndarray]:
    """The examples of every client; skewed: two runs of examples sorted by label."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    if deal == "alike":
        return np.array_split(order, clients)
    shards = np.array_split(order[np.argsort(y[order], kind="stable")], 2 * clients)
    chosen = rng.permutation(2 * clients)
    return [np.concatenate([shards[a], shards[b]]) for a, b in chosen.reshape(clients, 2)]


def search_rate(kind: Kind, split: Split, deal: str, clients: int, rates: Sequence[float], rounds: int) -> float:
    """The local rate that is best after some rounds."""
    return max(rates, key=lambda rate: train(kind, split, deal, clients, rate, rounds, seed=0).accuracies[-1])


def train(kind: Kind, split: Split, deal: str, clients: int, rate: float, rounds: int, seed: int) -> Outcome:
    """Rounds of local epochs and averages."""
    generator = torch.Generator().manual_seed(seed)
    network = kind.family.make(*split.sizes, kind.shape(split.sizes), 1.0, generator)
    if kind.positions_stay:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.endswith("positions"))
    x, y = torch.from_numpy(split.x_train), torch.from_numpy(split.y_train)
    parts = [torch.from_numpy(part) for part in deal_out(split.y_train, deal, clients, seed)]
    travelling = [parameter for parameter in network.parameters() if parameter.requires_grad]
    accuracies = [_round(kind.family, network, travelling, x, y, parts, rate, generator, split) for _ in range(rounds)]
    total = sum(parameter.numel() for parameter in network.parameters())
    return Outcome(accuracies, total, sum(parameter.numel() for parameter in travelling))


def _round(
    family: Family,
    network: nn.Module,
    travelling: list[nn.Parameter],
    x: Tensor,
    y: Tensor,
    parts: list[Tensor],
    rate: float,
    generator: torch.Generator,
    split: Split,
) -> float:
    """One local epoch of every client from the same network, then the mean of what they sent; its test accuracy."""
    common = [parameter.detach().clone() for parameter in travelling]
    sums = [torch.zeros_like(parameter) for parameter in common]
    examples = sum(len(part) for part in parts)
    for part in parts:
        _copy(common, travelling)
        _local_epoch(family, network, x, y, part[torch.randperm(len(part), generator=generator)], rate)
        with torch.no_grad():
            for total, parameter in zip(sums, travelling, strict=True):
                total += parameter * (len(part) / examples)
    _copy(sums, travelling)
    with torch.no_grad():
        labels = network(torch.from_numpy(split.x_test)).argmax(1).numpy()
    return float((labels == split.y_test).mean())


def _copy(values: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
    with torch.no_grad():
        for value, parameter in zip(values, parameters, strict=True):
            parameter.copy_(value)


def _local_epoch(family: Family, network: nn.Module, x: Tensor, y: Tensor, order: Tensor, rate: float) -> None:
    """Adam anew in every round: no state of an optimiser travels."""
    groups = [
        group | {"params": trained}
        for group in family.groups(network, rate)
        if (trained := [parameter for parameter in group["params"] if parameter.requires_grad])
    ]
    optimizer = torch.optim.Adam(groups)
    for rows in order.split(BATCH_SIZE):
        loss = cross_entropy(network(x[rows]), y[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
