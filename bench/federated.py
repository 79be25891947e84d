"""Slow links: federated averaging over ten clients, and the bytes that travel until a test accuracy is reached.

python -m bench federated --data DIR           about half an hour on one core
python -m bench federated --report             table and picture of what there is

Every round each client gets the network, trains it for one epoch on its own examples and sends it back; the server
takes the mean (McMahan et al., Communication-efficient learning of deep networks from decentralized data, 2017). The
examples are dealt out at random ("alike"), or sorted by label so that a client has two or three digits ("skewed").
Particles travel whole, or with the positions where the common start put them and dipoles and biases alone averaged.
Every kind of network has the same search of its local rate, by examples held back from training. Every round becomes a
line of federated.csv; a kind that has all its rounds is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.equal_parameters_data import Split, load_split
from bench.federated_report import write_report
from bench.harness import RESULTS, machine
from bench.result_lines import check_counts, check_output, read_lines, write_lines

CLIENTS = 10
RATES = (0.001, 0.003, 0.01, 0.03)
# Fewer choose rates that fail later where clients are skewed.
SEARCH_ROUNDS = 10
COLUMNS = (
    *("clients", "network", "seed", "round", "parameters", "travelling", "megabytes", "rate", "test_accuracy"),
    *("cpu", "python", "numpy", "torch"),
)
DEALS = ("alike", "skewed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with MNIST's IDX files, or mnist (default)")
    parser.add_argument("--rounds", type=int, default=30, help="of averaging (default: 30)")
    parser.add_argument("--examples", type=int, default=20_000, help="of all clients together (default: 20000)")
    parser.add_argument("--seeds", type=int, default=1, help="(default: 1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--report", action="store_true", help="train nothing: write the table of what there is")


def run(options: argparse.Namespace) -> None:
    """Train what is missing, then write the table and the picture."""
    check_output(options)
    check_counts(options, rounds=1, examples=10 * CLIENTS, seeds=1)
    results = options.output / "federated.csv"
    if not options.report:
        _train_missing(options, load_split("mnist", options.data), results)
    print(write_report(read_lines(results, COLUMNS), options.output))


def _train_missing(options: argparse.Namespace, split: Split, results: Path) -> None:
    import torch

    from bench.federated_training import NETWORKS

    torch.set_num_threads(1)
    few = split._replace(x_train=split.x_train[: options.examples], y_train=split.y_train[: options.examples])
    for seed in range(options.seeds):
        for deal in DEALS:
            for network in NETWORKS:
                lines = read_lines(results, COLUMNS)
                done = [line for line in lines if (line["clients"], line["network"]) == (deal, network)]
                if sum(line["seed"] == str(seed) for line in done) < options.rounds:
                    others = [line for line in lines if line not in done or line["seed"] != str(seed)]
                    write_lines(results, COLUMNS, others + _train(network, deal, seed, few, options.rounds))


def _train(network: str, deal: str, seed: int, split: Split, rounds: int) -> list[dict[str, str]]:
    """A line for every round."""
    from bench.federated_training import NETWORKS, search_rate, train

    kind = NETWORKS[network]
    rate = search_rate(kind, split.for_search(), deal, CLIENTS, RATES, SEARCH_ROUNDS)
    outcome = train(kind, split, deal, CLIENTS, rate, rounds, seed)
    lines = []
    for number, accuracy in enumerate(outcome.accuracies, 1):
        # Down to every client and up again, four bytes a number.
        megabytes = number * 2 * CLIENTS * 4 * outcome.travelling / 1e6
        known = machine() | {
            "clients": deal,
            "network": network,
            "seed": seed,
            "round": number,
            "parameters": outcome.parameters,
            "travelling": outcome.travelling,
            "megabytes": f"{megabytes:.3f}",
            "rate": rate,
            "test_accuracy": f"{accuracy:.4f}",
        }
        lines.append({name: str(known.get(name, "")) for name in COLUMNS})
    print(f"{deal}, {network}: {max(outcome.accuracies):.2%} at best, rate {rate}", flush=True)
    return lines
