"""One network of a family: the search for its rate and start, its training, and what a step of it takes."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bench.compressed.family import Family, Shape
from bench.equal_parameters_data import Split

BATCH_SIZE = 100
# What a search draws from: peak rates on a logarithmic scale, and factors of a family's own start.
LOWEST_RATE, HIGHEST_RATE = 1e-3, 1e-1
GAINS = (0.5, 1.0, 2.0)


class Setting(NamedTuple):
    """What a search decides."""

    shape: Shape
    rate: float
    gain: float


class Outcome(NamedTuple):
    """A trained network: test accuracy between 0 and 1, and the median milliseconds of a step."""

    accuracy: float
    step_ms: float


def search(family: Family, budget: int, split: Split, trials: int, epochs: int, seed: int) -> Setting | None:
    """The best of ``trials`` random settings by the examples held back; None if no network fits the budget."""
    rng = np.random.default_rng(seed)
    held_back = split.for_search()
    shapes = family.shapes(*split.sizes, budget)
    if not shapes:
        return None
    best, best_accuracy = None, -1.0
    for _ in range(trials):
        setting = Setting(
            shapes[rng.integers(len(shapes))],
            float(np.exp(rng.uniform(np.log(LOWEST_RATE), np.log(HIGHEST_RATE)))),
            GAINS[rng.integers(len(GAINS))],
        )
        accuracy = train(family, setting, budget, held_back, epochs, seed).accuracy
        if accuracy > best_accuracy:
            best, best_accuracy = setting, accuracy
    return best


def train(family: Family, setting: Setting, budget: int, split: Split, epochs: int, seed: int) -> Outcome:
    """Adam with one cycle of the rate, cross-entropy, batches of 100: the same for every family.

    A run whose loss is no longer finite ends with the accuracy of chance.
    """
    generator = torch.Generator().manual_seed(seed)
    network = family.make(*split.sizes, setting.shape, setting.gain, generator)
    x, y = torch.from_numpy(split.x_train), torch.from_numpy(split.y_train)
    batches = max(len(x) // BATCH_SIZE, 1)
    groups = family.groups(network, setting.rate)
    optimizer = torch.optim.Adam(groups)
    peaks = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=epochs * batches)
    step_seconds = []
    for step in range(epochs * batches):
        if step % batches == 0:
            order = torch.randperm(len(x), generator=generator)
        start = time.perf_counter()
        rows = order[(step % batches) * BATCH_SIZE :][:BATCH_SIZE]
        loss = cross_entropy(network(x[rows]), y[rows])
        if not torch.isfinite(loss):
            return Outcome(1 / split.sizes[1], float("nan"))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        family.after_step(network, setting.shape, (step + 1) / (epochs * batches), budget)
        step_seconds.append(time.perf_counter() - start)
    return Outcome(_accuracy(network, split), 1e3 * float(np.median(step_seconds)))


def _accuracy(network: nn.Module, split: Split) -> float:
    with torch.no_grad():
        labels = [network(torch.from_numpy(x)).argmax(1).numpy() for x in np.array_split(split.x_test, 10) if len(x)]
    return float((np.concatenate(labels) == split.y_test).mean())
