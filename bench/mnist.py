"""MNIST: time of an epoch beside the same-shape perceptron in torch, and test accuracy by recipe.

python -m bench mnist --data DIR --time                     epochs of both, one after the other
python -m bench mnist --data DIR --accuracy                 50 epochs of the modern recipe, 784-64-10, n = 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import pn_gpu as pn
from pn_gpu.data import Dataset, load
from pn_gpu.kernels.host.threads import num_threads
from pn_gpu.training.recipes import RECIPES, get_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with the IDX files, or mnist (default)")
    parser.add_argument("--time", action="store_true", help="time epochs against torch")
    parser.add_argument("--accuracy", action="store_true", help="train to the end and test")
    parser.add_argument("--hidden", type=int, help="hidden nodes (default: 128 to time, 64 to train)")
    parser.add_argument("--dim", type=int, default=3, help="dimensions n (default: 3)")
    parser.add_argument("--dipole-dim", type=int, help="dimensions d of the dipoles to train with (default: n)")
    parser.add_argument("--epochs", type=int, help="default: 5 to time, 50 to train")
    parser.add_argument("--recipe", choices=list(RECIPES), default="modern", help="default: modern")
    parser.add_argument("--method", default="auto", help="auto (default), direct or mehler")
    parser.add_argument("--lr", type=float, help="default: the recipe's")
    parser.add_argument("--seeds", type=int, default=1, help="networks to train (default: 1)")


def run(options: argparse.Namespace) -> None:
    """Measure as the options say; both by default."""
    data = load(options.data)
    both = not (options.time or options.accuracy)
    if options.time or both:
        _time_epochs(data, options.hidden or 128, options.dim, options.epochs or 5)
    if options.accuracy or both:
        _train(data, options)


def _time_epochs(data: Dataset, hidden: int, dim: int, rounds: int) -> None:
    sizes = [data.num_features, hidden, data.num_outputs]
    ours = "ParticleNetwork"
    # On small layers torch is often faster with one thread: the baseline is the faster of the two.
    providers = {ours: _particle_epochs(data, sizes, dim)} | {
        f"torch MLP, {threads} threads": _torch_epochs(data, sizes, threads) for threads in sorted({1, num_threads()})
    }
    seconds: dict[str, list[float]] = {name: [] for name in providers}
    for _ in range(rounds):
        for name, run_epoch in providers.items():
            start = time.perf_counter()
            run_epoch()
            seconds[name].append(time.perf_counter() - start)
    print(f"MNIST {'-'.join(map(str, sizes))}, n = {dim}, batches of 100, Adam: one epoch, {rounds} interleaved rounds")
    for name, values in seconds.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(seconds[ours], values, strict=True))
        print(f"  {name:<22} median {statistics.median(values):7.3f} s   {ours} / this {ratio:6.2f}")


def _particle_epochs(data: Dataset, sizes: list[int], dim: int) -> Callable[[], object]:
    network = pn.ParticleNetwork(sizes, dim=dim, seed=0, backend="numpy")
    return lambda: network.fit(data.x_train, data.y_train, epochs=1, optimizer=pn.Adam(0.001), seed=0, progress=False)


def _torch_epochs(data: Dataset, sizes: list[int], threads: int) -> Callable[[], object]:
    """The fastest plain loop: all data in one tensor, a shuffled index, fused Adam."""
    import torch

    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    model = torch.nn.Sequential(
        torch.nn.Linear(sizes[0], sizes[1]), torch.nn.ReLU(), torch.nn.Linear(sizes[1], sizes[2])
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    loss_of = torch.nn.CrossEntropyLoss()

    def run_epoch() -> None:
        torch.set_num_threads(threads)
        right, total = 0.0, 0.0
        for rows in torch.randperm(len(x)).split(100):
            outputs, labels = model(x[rows]), y[rows]
            loss = loss_of(outputs, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            right += float((outputs.argmax(1) == labels).sum())

    return run_epoch


def _train(data: Dataset, options: argparse.Namespace) -> None:
    sizes = [data.num_features, options.hidden or 64, data.num_outputs]
    epochs = options.epochs or 50
    accuracies = []
    for seed in range(options.seeds):
        recipe = get_recipe(options.recipe, options.lr)
        network = pn.ParticleNetwork(
            sizes,
            dim=options.dim,
            dipole_dim=options.dipole_dim,
            activation=recipe.activation,
            initialisation=recipe.initialisation,
            shared=recipe.shared,
            method=options.method,
            seed=seed,
            backend="numpy",
        )
        history = network.fit(
            data.x_train, data.y_train, epochs=epochs, batch_size=100, seed=seed, **recipe.fit_options
        )
        train, test = (network.evaluate(*part) for part in ((data.x_train, data.y_train), (data.x_test, data.y_test)))
        accuracies.append(test["accuracy"])
        print(
            f"MNIST {'-'.join(map(str, sizes))}, n = {network.dim}, d = {network.dipole_dim},"
            f" {options.recipe}, {epochs} epochs, seed {seed}:"
            f" train {100 * train['accuracy']:.2f} %, test {100 * test['accuracy']:.2f} %,"
            f" {statistics.median(history['seconds']):.2f} s an epoch",
            flush=True,
        )
    if len(accuracies) > 1:
        print(f"mean test accuracy {100 * np.mean(accuracies):.2f} %, spread {100 * np.std(accuracies, ddof=1):.2f}")
