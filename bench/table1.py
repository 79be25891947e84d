"""Table 1 of the paper: ten topologies on MNIST, as Particle Networks of n = 2 and n = 3 and as a perceptron.

python -m bench table1 --data DIR                                   everything: days on one core
python -m bench table1 --data DIR --recipes modern --seeds 1 --jobs 2
python -m bench table1 --data DIR --only 784-64-10,784-128-10 --dims 3 --no-mlp
python -m bench table1 --report                                     table and picture of what there is

Every network that is trained to the end becomes a line of table1.csv; what has a line is not trained again, and a
network that was cut off goes on from its last checkpoint. One network a core, one thread each.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pn_gpu as pn
from bench.result_lines import check_counts, check_output
from bench.table1_report import write_report
from bench.table1_results import KEY_COLUMNS, Result, append_result, read_results, versions
from pn_gpu.data import Dataset, load
from pn_gpu.networks.network import Network
from pn_gpu.training.recipes import RECIPES, get_recipe

HIDDEN = ((), (16,), (32,), (64,), (128,), (256,), (512,), (64, 32), (128, 64), (256, 128))
RESULTS = Path(__file__).parent / "results"
BATCH_SIZE = 100
CHECKPOINT_EVERY = 5

# A perceptron wants smaller steps than particles do: a fair baseline gets its own peak learning rate.
DENSE_LR: dict[str, float] = {"modern": 0.003}

ONE_THREAD = ("PN_GPU_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Cell:
    """One network to train.

    Attributes
    ----------
    data : str
        What `pn_gpu.data.load` reads.
    sizes : tuple of int
        Nodes at every level.
    dim : int
        Dimensions n of the particles; 0 for a perceptron.
    recipe : str
    lr : float or None
        (Peak) learning rate; None for the recipe's.
    seed, epochs : int
    """

    data: str
    sizes: tuple[int, ...]
    dim: int
    recipe: str
    lr: float | None
    seed: int
    epochs: int

    @property
    def topology(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def name(self) -> str:
        kind = f"n={self.dim}" if self.dim else "MLP"
        return f"{self.topology} {kind} {self.recipe} seed {self.seed}"

    @property
    def work(self) -> float:
        """Expected time in arbitrary units, for the order and for the time left (fitted to a few cells)."""
        weights = sum(num_in * num_out for num_in, num_out in pairwise(self.sizes))
        return self.epochs * (60_000 + weights * (1.9 + 0.2 * self.dim) if self.dim else 14_000 + weights)

    def training(self) -> dict[str, Any]:
        """Keyword arguments of `fit`."""
        return get_recipe(self.recipe, self.lr).fit_options

    @property
    def setting(self) -> str:
        """Optimiser, activation and, where they are not the paper's, the particles' start and sharing, in words."""
        recipe = get_recipe(self.recipe, self.lr)
        start = ", scaled start" if self.dim and recipe.initialisation == "scaled" else ""
        # A network of one layer has nothing to share.
        sharing = ", node sets unshared" if self.dim and len(self.sizes) > 2 and not recipe.shared else ""
        return f"{recipe.optimizer!r}, {recipe.activation}{start}{sharing}"

    def network(self) -> Network:
        """The network before its first step."""
        recipe = get_recipe(self.recipe)
        activation = recipe.activation
        if self.dim:
            return pn.ParticleNetwork(
                self.sizes,
                self.dim,
                activation=activation,
                initialisation=recipe.initialisation,
                shared=recipe.shared,
                seed=self.seed,
                backend="numpy",
                method="direct",
            )
        return pn.DenseNetwork(self.sizes, activation=activation, seed=self.seed, backend="numpy")

    def key(self, data: Dataset) -> tuple[str, ...]:
        """What makes two results the same cell."""
        return tuple(
            map(
                str,
                (
                    data.name,
                    len(data.x_train),
                    self.topology,
                    self.dim,
                    self.recipe,
                    self.setting,
                    self.seed,
                    self.epochs,
                ),
            )
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", default="mnist", help="folder with the IDX files, or mnist (default)")
    parser.add_argument("--recipes", default="modern,paper", help="default: modern,paper")
    parser.add_argument("--seeds", type=int, default=3, help="networks for every cell (default: 3)")
    parser.add_argument("--only", metavar="SIZES", help="topologies, such as 784-64-10,784-10 (default: all ten)")
    parser.add_argument("--dims", default="2,3", help="dimensions n (default: 2,3)")
    parser.add_argument("--no-mlp", action="store_true", help="leave the perceptrons out")
    parser.add_argument("--epochs", type=int, default=50, help="default: 50")
    parser.add_argument("--lr", type=float, help="(peak) learning rate of particle networks (default: the recipe's)")
    parser.add_argument("--jobs", type=int, default=1, help="networks trained at once, a core each (default: 1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--report", action="store_true", help="train nothing: write the table of what there is")


def run(options: argparse.Namespace) -> None:
    """Train what is missing, then write the table and the picture."""
    results = options.output / "table1.csv"
    check_output(options)
    if options.report:
        print(write_report(read_results(results), options.output))
        return
    check_counts(options, jobs=1)
    data = load(options.data)
    cells = make_cells(options, data)
    done = {result.key for result in read_results(results)}
    missing = [cell for cell in cells if cell.key(data) not in done]
    before = len(cells) - len(missing)
    print(f"table1: {len(cells)} networks on {data.name}, {before} of them trained before", flush=True)
    train_cells(missing, data, results, options.jobs)
    print(write_report(read_results(results), options.output))


def make_cells(options: argparse.Namespace, data: Dataset) -> list[Cell]:
    """The networks the options ask for: first every cell once, small ones first, then further seeds."""
    if options.seeds < 1 or options.epochs < 1:
        raise ValueError(f"--seeds and --epochs: got {options.seeds} and {options.epochs}, want at least 1")
    topologies = [(data.num_features, *hidden, data.num_outputs) for hidden in HIDDEN]
    names = ["-".join(map(str, sizes)) for sizes in topologies]
    wanted = _split("--only", options.only, names) if options.only else names
    recipes = _split("--recipes", options.recipes, list(RECIPES))
    dims = _dims(options.dims) + ([] if options.no_mlp else [0])
    cells = [
        Cell(options.data, sizes, dim, recipe, options.lr if dim else DENSE_LR.get(recipe), seed, options.epochs)
        for recipe in recipes
        for sizes, name in zip(topologies, names, strict=True)
        if name in wanted
        for dim in dims
        for seed in range(options.seeds)
    ]
    return sorted(cells, key=lambda cell: (cell.seed, recipes.index(cell.recipe), cell.work))


def _split(option: str, text: str, choices: list[str]) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in parts if part not in choices]
    if unknown or not parts:
        raise ValueError(f"{option}: got {text!r}, want some of {','.join(choices)}")
    return parts


def _dims(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--dims: got {text!r}, want dimensions separated by commas, such as 2,3")
    return [int(part) for part in parts]


def train_cells(cells: list[Cell], data: Dataset, results: Path, jobs: int) -> None:
    """Train cells in processes of their own and append each to the results as soon as it is finished."""
    if not cells:
        return
    started, done_work, total_work = time.perf_counter(), 0.0, sum(cell.work for cell in cells)
    checkpoints = results.parent / ".table1"
    checkpoints.mkdir(exist_ok=True)
    with _one_thread_each(), _pool(min(jobs, len(cells))) as pool:
        futures = {pool.submit(train_cell, cell, checkpoints): cell for cell in cells}
        try:
            for count, future in enumerate(as_completed(futures), 1):
                cell, result = futures[future], future.result()
                if result is None:
                    raise KeyboardInterrupt
                append_result(results, result)
                done_work += cell.work
                seconds = time.perf_counter() - started
                left = seconds * (total_work - done_work) / done_work
                print(
                    f"[{count}/{len(cells)}] {cell.name}: train {result.train:.2f} % test {result.test:.2f} %,"
                    f" {float(result.seconds):.0f} s; about {_duration(left)} left",
                    flush=True,
                )
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                print("table1: interrupted; the same command goes on from here", flush=True)
                raise SystemExit(130) from None
            raise
    if not any(checkpoints.iterdir()):
        checkpoints.rmdir()


def train_cell(cell: Cell, checkpoints: Path) -> Result | None:
    """Train one cell to the end (in a process of its own); None if it was interrupted."""
    data = _data(cell.data)
    network = cell.network()
    checkpoint = checkpoint_of(cell, data, checkpoints)
    recipe = cell.training()
    history = network.fit(
        data.x_train,
        data.y_train,
        epochs=cell.epochs,
        batch_size=BATCH_SIZE,
        seed=cell.seed,
        checkpoint=checkpoint,
        checkpoint_every=CHECKPOINT_EVERY,
        resume=True,
        progress=False,
        **recipe,
    )
    if history.stop_reason != "finished":
        return None
    train, test = (network.evaluate(x, y) for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)))
    result = Result(
        **dict(zip(KEY_COLUMNS, cell.key(data), strict=True)),
        batch_size=str(BATCH_SIZE),
        parameters=str(network.num_parameters),
        train_accuracy=f"{train['accuracy']:.6f}",
        test_accuracy=f"{test['accuracy']:.6f}",
        train_loss=f"{train['loss']:.6f}",
        test_loss=f"{test['loss']:.6f}",
        seconds=f"{sum(history['seconds']):.1f}",
        **versions(),
    )
    checkpoint.unlink(missing_ok=True)
    return result


def checkpoint_of(cell: Cell, data: Dataset, folder: Path) -> Path:
    """Where the cell's training is kept while it runs."""
    return folder / f"{hashlib.sha256(repr(cell.key(data)).encode()).hexdigest()[:16]}.safetensors"


@cache
def _data(source: str) -> Dataset:
    return load(source)


def _pool(jobs: int) -> ProcessPoolExecutor:
    # Fresh processes: NumPy's BLAS reads its number of threads when it is first imported.
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started in the block compute on one thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
