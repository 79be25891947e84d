"""The networks of `bench distillation`: dense teachers, students of particles, and how these learn."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bench.equal_parameters_data import Split
from pn_gpu.nn import ParticleLinear, ParticleMLP, calibrate, parameter_groups

BATCH_SIZE = 100


def train_teacher(sizes: tuple[int, ...], split: Split, epochs: int, rate: float, seed: int) -> nn.Sequential:
    """A perceptron with ReLU, trained on the labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules: list[nn.Module] = []
        for a, b in pairwise(sizes):
            modules += [nn.Linear(a, b), nn.ReLU()]
    teacher = nn.Sequential(*modules[:-1])
    steps = epochs * (len(split.x_train) // BATCH_SIZE)
    _train(teacher, [{"params": list(teacher.parameters()), "lr": rate}], split, steps, seed, _label_loss(teacher))
    return teacher.eval().requires_grad_(False)


def replaced(
    teacher: nn.Sequential, dims: tuple[int, int], count: int, seed: int, fitted: nn.Sequential | None = None
) -> nn.Sequential:
    """A copy of the teacher whose first ``count`` layers are particles; those of ``fitted`` where that is given."""
    student = copy.deepcopy(teacher)
    for index in range(0, 2 * count, 2):
        linear = student[index]
        assert isinstance(linear, nn.Linear)
        student[index] = (
            ParticleLinear.from_linear(linear, *dims, seed=seed, progress=False)
            if fitted is None
            else copy.deepcopy(fitted[index])
        )
    return student.requires_grad_(True)


def fresh_student(sizes: tuple[int, ...], dims: tuple[int, int], split: Split, seed: int) -> nn.Sequential:
    """The same layers of particles at their start, calibrated."""
    generator = torch.Generator().manual_seed(seed)
    network = ParticleMLP(sizes, dims[0], dipole_dim=dims[1], share_particles=False, generator=generator)
    calibrate(network, torch.from_numpy(split.x_train[:512]))
    modules: list[nn.Module] = []
    for layer in network.layers:
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def train_student(
    student: nn.Sequential, teacher: nn.Sequential, split: Split, way: str, rate: float, steps: int, seed: int
) -> nn.Sequential:
    """The student after so many steps."""
    if way == "fit, hidden outputs first":
        first = steps // 3
        _train(student, parameter_groups(student, rate), split, first, seed + 1, _hidden_loss(student, teacher))
        steps -= first
    loss = _label_loss(student) if way.endswith("labels") else _output_loss(student, teacher)
    _train(student, parameter_groups(student, rate), split, steps, seed, loss)
    return student


def _label_loss(network: nn.Module) -> Any:
    return lambda x, y: nn.functional.cross_entropy(network(x), y)


def _output_loss(student: nn.Module, teacher: nn.Module) -> Any:
    """Cross entropy with the teacher's probabilities (Hinton et al., 2015, at temperature 1)."""
    return lambda x, y: nn.functional.cross_entropy(student(x), teacher(x).softmax(1))


def _hidden_loss(student: nn.Sequential, teacher: nn.Sequential) -> Any:
    """Every layer's z beside that of the teacher's layer on the teacher's inputs, in units of its variance."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(())
        for own, theirs in zip(student, teacher, strict=True):
            z = theirs(x)
            if not isinstance(theirs, nn.ReLU):
                total = total + (own(x) - z).square().mean() / z.var()
            x = z
        return total

    return loss


def _train(network: nn.Module, groups: list[dict[str, Any]], split: Split, steps: int, seed: int, loss: Any) -> None:
    optimizer = torch.optim.Adam(groups)
    peaks = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=max(steps, 2))
    x, y = torch.from_numpy(split.x_train), torch.from_numpy(split.y_train)
    generator, order = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < BATCH_SIZE:
            order = torch.randperm(len(x), generator=generator)
        rows, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        value = loss(x[rows], y[rows])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(network: nn.Module, split: Split) -> float:
    """The share of test examples that are told right."""
    parts = torch.from_numpy(split.x_test).split(1000)
    guess = torch.cat([network(part).argmax(1) for part in parts])
    return float((guess == torch.from_numpy(split.y_test)).double().mean())
