"""The dense MLP of train_wide: torch, fused Adam, one cycle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.train_wide_data import shuffled_batches


class DenseTraining:
    """A perceptron and how far its training has come.

    Parameters
    ----------
    sizes : sequence of int
    lr : float
        Peak learning rate.
    num_steps : int
        Length of the schedule.
    seed : int
    """

    def __init__(self, sizes: Sequence[int], lr: float, num_steps: int, seed: int) -> None:
        import torch

        torch.manual_seed(seed)
        modules: list[Any] = []
        for num_in, num_out in pairwise(sizes):
            modules += [torch.nn.Linear(num_in, num_out), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*modules[:-1])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr, fused=True)
        self.loss_of = torch.nn.CrossEntropyLoss()
        self.lr, self.num_steps, self.steps = lr, num_steps, 0
        self.losses: list[float] = []
        self._schedule = pn.OneCycle(lr)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        """One update."""
        import torch

        self.optimizer.param_groups[0]["lr"] = self._schedule(min(self.steps, self.num_steps - 1), self.num_steps)
        loss = self.loss_of(self.model(torch.from_numpy(x)), torch.from_numpy(y))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())
        self.steps += 1

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """Test accuracy, 0 to 1."""
        import torch

        with torch.no_grad():
            right = sum(
                int((self.model(torch.from_numpy(x[k : k + 1000])).argmax(1).numpy() == y[k : k + 1000]).sum())
                for k in range(0, len(x), 1000)
            )
        return right / len(x)

    def state(self) -> dict[str, Any]:
        """What `load_state` takes."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


def best_rate(
    sizes: Sequence[int], x: np.ndarray, y: np.ndarray, rates: Sequence[float], steps: int
) -> tuple[float, dict[float, float]]:
    """The rate of least training loss at the end of a one-cycle run of so many steps, and all losses."""
    losses: dict[float, float] = {}
    for lr in rates:
        training = DenseTraining(sizes, lr, steps, seed=0)
        batches = shuffled_batches(len(x), 0)
        for rows in batches[:steps] if steps <= len(batches) else batches * math.ceil(steps / len(batches)):
            training.step(x[rows], y[rows])
        losses[lr] = round(float(np.mean(training.losses[-max(steps // 5, 1) :])), 4)
    return min(losses, key=lambda lr: losses[lr]), losses
