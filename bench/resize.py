"""Networks made smaller and larger after training: accuracy after removing hidden nodes, and after adding particles.

python -m bench resize --data DIR          some minutes on one core
python -m bench resize --report            table and picture of what there is

784-256-10 is trained on MNIST as particles, with node sets of every layer's own and shared, and as a dense network.
Then hidden nodes are removed: by the rule of `pn_gpu.prune` (reconstruction: the others make up for what is removed, by
least squares), by the least influence (deviation of the activation times norm of the outgoing weights; what is removed
goes into the bias on average) and at random. What is left is judged as it is and after one epoch more. And a narrow
particle network is grown by `pn_gpu.grow` half way through its training. Every network becomes a line of resize.csv;
what has a line is not trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.harness import RESULTS, machine
from bench.resize_report import write_report
from bench.result_lines import check_counts, check_output, read_lines, write_lines
from pn_gpu.data import Dataset, load
from pn_gpu.networks.network import Network
from pn_gpu.resize.elimination import eliminate
from pn_gpu.resize.level import moments
from pn_gpu.resize.prune import keep_particles
from pn_gpu.training.recipes import BATCH_SIZE, get_recipe

HIDDEN, NARROW = 256, 64
KEPT = (0.75, 0.5, 0.25)
# A dense network wants smaller steps (bench/table1.py); retraining goes up to a quarter of the peak.
RATES = {"particles": 0.02, "particles, shared": 0.02, "dense": 0.003}
RETRAINING = 0.25
EXAMPLES = 1000
RULES = ("reconstruction", "influence", "random")
COLUMNS = (
    *("network", "change", "hidden", "seed", "parameters", "test_accuracy", "retrained_accuracy", "difference"),
    *("cpu", "python", "numpy"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with MNIST's IDX files, or mnist (default)")
    parser.add_argument("--seeds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--epochs", type=int, default=10, help="before nodes are removed (default: 10)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--report", action="store_true", help="train nothing: write the table of what there is")


def run(options: argparse.Namespace) -> None:
    """Train what is missing, then write the table and the picture."""
    check_output(options)
    check_counts(options, seeds=1, epochs=1)
    results = options.output / "resize.csv"
    if not options.report:
        data = load(options.data)
        parts: dict[str, Callable[..., list[dict[str, object]]]] = {
            "particles": _shrink,
            "particles, shared": _shrink,
            "dense": _shrink,
            "grown": _grow,
        }
        for seed in range(options.seeds):
            for network, measure in parts.items():
                lines = read_lines(results, COLUMNS)
                if not any((line["network"], line["seed"]) == (network, str(seed)) for line in lines):
                    rows = measure(network, data, seed, options.epochs)
                    write_lines(results, COLUMNS, lines + [_line(network, seed, row) for row in rows])
    print(write_report(read_lines(results, COLUMNS), options.output))


def _line(network: str, seed: int, row: dict[str, object]) -> dict[str, str]:
    known = machine() | {"network": network, "seed": seed} | row
    return {name: str(known.get(name, "")) for name in COLUMNS}


def make_network(kind: str, sizes: list[int], seed: int) -> Network:
    """A network before its first step."""
    recipe = get_recipe("modern")
    if kind == "dense":
        return pn.DenseNetwork(sizes, activation=recipe.activation, seed=seed, backend="numpy")
    dim, dipole_dim = recipe.dims
    return pn.ParticleNetwork(
        sizes,
        dim,
        dipole_dim=dipole_dim,
        activation=recipe.activation,
        shared=kind.endswith("shared"),
        method="direct",
        seed=seed,
        backend="numpy",
    )


def _train(network: Network, data: Dataset, rate: float, epochs: int, seed: int) -> float:
    """Test accuracy after some epochs."""
    options = get_recipe("modern", rate).fit_options
    network.fit(data.x_train, data.y_train, epochs=epochs, batch_size=BATCH_SIZE, seed=seed, progress=False, **options)
    return _accuracy(network, data)


def _accuracy(network: Network, data: Dataset) -> float:
    return float(network.evaluate(data.x_test, data.y_test)["accuracy"])


def _shrink(kind: str, data: Dataset, seed: int, epochs: int) -> list[dict[str, object]]:
    network = make_network(kind, [data.num_features, HIDDEN, data.num_outputs], seed)
    whole = _train(network, data, RATES[kind], epochs, seed)
    rows: list[dict[str, object]] = [
        {"change": "whole", "hidden": HIDDEN, "parameters": network.num_parameters, "test_accuracy": f"{whole:.4f}"}
    ]
    for share in KEPT:
        for rule in RULES:
            smaller = shrink(network, rule, round(share * HIDDEN), data.x_train[:EXAMPLES], seed)
            before = _accuracy(smaller, data)
            after = _train(smaller, data, RETRAINING * RATES[kind], 1, seed)
            rows.append(
                {
                    "change": rule,
                    "hidden": round(share * HIDDEN),
                    "parameters": smaller.num_parameters,
                    "test_accuracy": f"{before:.4f}",
                    "retrained_accuracy": f"{after:.4f}",
                }
            )
            print(f"{kind} seed {seed}: {rule}, {share:.0%} kept: {before:.2%}, retrained {after:.2%}", flush=True)
    return rows


def shrink(network: Any, rule: str, keep: int, x: Any, seed: int) -> Any:
    """The network with ``keep`` hidden nodes, by a rule; ``x`` [B, N] are examples to judge by."""
    hidden = network.sizes[1]
    if isinstance(network, pn.ParticleNetwork):
        if rule != "random":
            return pn.prune(network, keep, x, rule=rule)
        kept = np.sort(np.random.default_rng(seed).permutation(hidden)[:keep])
        return keep_particles(network, 1, kept, np.ones(keep), moments(network, x, 1).mean)
    return _shrink_dense(network, rule, keep, x, seed)


def _shrink_dense(network: pn.DenseNetwork, rule: str, keep: int, x: Any, seed: int) -> pn.DenseNetwork:
    weight, bias = (np.asarray(network.parameters[f"layers.0.{name}"]) for name in ("weight", "bias"))
    outgoing = np.asarray(network.parameters["layers.1.weight"])
    z = x @ weight + bias
    y = np.where(z > 0, z, 0.01 * z)
    shares = np.ones(keep)
    if rule == "reconstruction":
        kept, shares = eliminate(np.cov(y.T, bias=True) * (outgoing @ outgoing.T), keep)
    elif rule == "influence":
        kept = np.sort(np.argsort(-y.std(axis=0) * np.linalg.norm(outgoing, axis=1))[:keep])
    else:
        kept = np.sort(np.random.default_rng(seed).permutation(len(bias))[:keep])
    smaller = pn.DenseNetwork(
        [len(weight), keep, outgoing.shape[1]], activation="leaky_relu", seed=seed, backend="numpy"
    )
    missing = y.mean(axis=0)
    missing[kept] *= 1 - shares
    smaller.parameters["layers.0.weight"] = weight[:, kept]
    smaller.parameters["layers.0.bias"] = bias[kept]
    smaller.parameters["layers.1.weight"] = (outgoing[kept] * shares[:, None]).astype(np.float32)
    smaller.parameters["layers.1.bias"] = network.parameters["layers.1.bias"] + (missing @ outgoing).astype(np.float32)
    return smaller


def _grow(kind: str, data: Dataset, seed: int, epochs: int) -> list[dict[str, object]]:
    """A narrow network, grown and trained on from there; beside both widths trained as long from the start."""
    half = max(epochs // 2, 1)
    rate = RATES["particles"]
    narrow = make_network("particles", [data.num_features, NARROW, data.num_outputs], seed)
    rows: list[dict[str, object]] = []

    def add(change: str, network: Network, accuracy: float, **more: object) -> None:
        hidden = network.sizes[1]
        rows.append(
            {"change": change, "hidden": hidden, "parameters": network.num_parameters}
            | {"test_accuracy": f"{accuracy:.4f}"}
            | more
        )
        print(f"grown seed {seed}: {change}, {hidden} hidden: {accuracy:.2%}", flush=True)

    add("narrow, half of the epochs", narrow, _train(narrow, data, rate, half, seed))
    x = data.x_test[:EXAMPLES]
    grown: Any = pn.grow(narrow, HIDDEN, data.x_train[:EXAMPLES])
    before, after = (np.asarray(network.predict_proba(x)) for network in (narrow, grown))
    add("grown", grown, _accuracy(grown, data), difference=f"{np.abs(after - before).max():.1e}")
    add("grown, the other half", grown, _train(grown, data, rate, epochs - half, seed + 1))
    add("narrow, the other half", narrow, _train(narrow, data, rate, epochs - half, seed + 1))
    wide = make_network("particles", [data.num_features, HIDDEN, data.num_outputs], seed)
    add("wide from the start", wide, _train(wide, data, rate, epochs, seed))
    return rows
