"""Particle and dense steps by turns, timed, and what is measured of both at the end of an epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.harness import SPIN_SECONDS, resident_peak
from bench.train_wide_data import BATCH_SIZE, shuffled_batches
from bench.train_wide_dense import DenseTraining
from bench.train_wide_report import EpochRow, replace_rows
from pn_gpu.files import replacing
from pn_gpu.training.callbacks import Callback
from pn_gpu.training.loop import TrainingRun
from pn_gpu.training.recipes import get_recipe


class Turns(Callback):
    """The batches of a particle network's training; between blocks of them the dense network takes its steps.

    A particle step is timed from the making of its batch to the request for the next. Of every block the first step of
    either network is not counted in the medians: it finds the other's data in the cache and its threads spinning.
    """

    def __init__(
        self,
        name: str,
        x: np.ndarray,
        y: np.ndarray,
        x_test: np.ndarray,
        y_test: np.ndarray,
        dense: DenseTraining,
        *,
        block: int,
        dense_block: int,
        table: Path,
        folder: Path,
        peaks: Sequence[float],
        seed: int,
    ) -> None:
        self.name, self.dense, self.folder = name, dense, folder
        self._x, self._y, self._test = x, y, (x_test, y_test)
        self._block, self._dense_block, self._table = block, dense_block, table
        self._peaks, self._seed = peaks, seed
        self._epoch = 0
        self._seconds = {"particles": 0.0, "dense": 0.0}
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._blocks: list[tuple[float, float]] = []  # median seconds of a particle step and of a dense one

    def __len__(self) -> int:
        return -(-len(self._x) // BATCH_SIZE)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self._start_epoch()
        batches = shuffled_batches(len(self._x), self._seed, self._epoch)
        for first in range(0, len(batches), self._block):
            dense_seconds = self._dense_turn()
            times = []
            for rows in batches[first : first + self._block]:
                start = time.perf_counter()
                yield self._x[rows], self._y[rows]
                times.append(time.perf_counter() - start)
            self._seconds["particles"] += sum(times)
            self._blocks.append((float(np.median(times[1:] or times)), dense_seconds))
            time.sleep(SPIN_SECONDS)
        self._epoch += 1

    def _dense_turn(self) -> float:
        rng = np.random.default_rng((self._seed, self.dense.steps))
        times = []
        for _ in range(self._dense_block):
            start = time.perf_counter()
            rows = rng.integers(0, len(self._x), BATCH_SIZE)
            self.dense.step(self._x[rows], self._y[rows])
            times.append(time.perf_counter() - start)
        self._seconds["dense"] += sum(times)
        time.sleep(SPIN_SECONDS)
        return float(np.median(times[1:]))

    def on_train_begin(self, run: TrainingRun) -> None:
        import torch

        self._epoch = run.epoch
        if run.epoch > 0:
            saved = torch.load(self._dense_file(run.epoch), weights_only=True)
            self._seconds = saved.pop("seconds")
            self.dense.load_state(saved)

    def on_epoch_end(self, run: TrainingRun) -> None:
        import torch

        rows = self._rows(run)
        replace_rows(self._table, rows)
        for row in rows:
            print(f"  epoch {row.epoch}  {row.summary}", flush=True)
        with replacing(self._dense_file(run.epoch)) as temporary:
            torch.save(self.dense.state() | {"seconds": self._seconds}, temporary)
        self._dense_file(run.epoch - 2).unlink(missing_ok=True)

    def on_train_end(self, run: TrainingRun) -> None:
        if run.history.stop_reason == "finished":
            for epoch in (run.epochs - 1, run.epochs):
                self._dense_file(epoch).unlink(missing_ok=True)

    def _dense_file(self, epoch: int) -> Path:
        return self.folder / f"{self.name}-dense-{epoch}.pt"

    def _rows(self, run: TrainingRun) -> list[EpochRow]:
        network = run.network
        assert isinstance(network, pn.ParticleNetwork)
        ours, theirs = np.array(self._blocks).T
        low, middle, high = np.quantile(theirs / ours, [0.25, 0.5, 0.75])
        common = {"run": self.name, "width": network.sizes[1], "epoch": run.epoch}
        ratios = {"ratio": float(middle), "ratio_q25": float(low), "ratio_q75": float(high)}
        particles = EpochRow(
            **common,
            **ratios,
            network="particles",
            n=network.dim,
            d=network.dipole_dim,
            parameters=network.num_parameters,
            lr=run.optimizer.lr(run.step // 3, run.step),
            steps=run.step,
            seconds=self._seconds["particles"],
            step_ms=1e3 * float(np.median(ours)),
            train_loss=run.history["loss"][-1],
            test_accuracy=network.evaluate(*self._test)["accuracy"],
            spread="/".join(f"{float(nodes.positions.std()):.2f}" for nodes in network.particles),
            features="/".join(str(layer.planner.current.features) for layer in network.connections),
            peak_mb=self._peaks[0],
        )
        losses = self.dense.losses[-self._dense_block * len(self._blocks) :]
        dense = EpochRow(
            **common,
            **ratios,
            network="dense",
            n=0,
            d=0,
            parameters=self.dense.num_parameters,
            lr=self.dense.lr,
            steps=self.dense.steps,
            seconds=self._seconds["dense"],
            step_ms=1e3 * float(np.median(theirs)),
            train_loss=float(np.mean(losses)),
            test_accuracy=self.dense.accuracy(*self._test),
            spread="",
            features="",
            peak_mb=self._peaks[1],
        )
        return [particles, dense]


def trial_seconds(
    network: pn.ParticleNetwork, sizes: Sequence[int], x: np.ndarray, y: np.ndarray
) -> tuple[float, float]:
    """Seconds of a particle step and of a dense one, roughly, for the plan of the turns."""
    dense = DenseTraining(sizes, 1e-3, 100, seed=0)
    batches = shuffled_batches(len(x), 0)[:12]
    times = []
    for rows in batches[:4]:
        start = time.perf_counter()
        dense.step(x[rows], y[rows])
        times.append(time.perf_counter() - start)
    time.sleep(SPIN_SECONDS)
    ours: list[float] = []

    def timed() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows in batches:
            start = time.perf_counter()
            yield x[rows], y[rows]
            ours.append(time.perf_counter() - start)

    network.copy().fit(timed(), epochs=1, optimizer=pn.Adam(1e-3), seed=0, progress=False)
    return float(np.median(ours[2:])), float(np.median(times[1:]))


def peak_mb(network: dict[str, Any] | list[int]) -> float:
    """MB of resident memory of a network and three of its training steps, beyond that of the libraries.

    For a process of its own. ``network`` is the architecture of a particle network or the sizes of a dense one.
    """
    rng = np.random.default_rng(0)
    sizes = network["sizes"] if isinstance(network, dict) else network
    x = rng.random((3 * BATCH_SIZE, sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], 3 * BATCH_SIZE)

    def train(network: dict[str, Any] | list[int]) -> int:
        if isinstance(network, dict):
            particles = pn.ParticleNetwork(**network, seed=0, backend="numpy")
            particles.fit(
                x, y, epochs=1, batch_size=BATCH_SIZE, seed=0, progress=False, **get_recipe("modern").fit_options
            )
        else:
            dense = DenseTraining(network, 1e-3, 10, seed=0)
            for first in range(0, len(x), BATCH_SIZE):
                dense.step(x[first : first + BATCH_SIZE], y[first : first + BATCH_SIZE])
        return 0

    small = [sizes[0], 16, 16, sizes[-1]]
    train(network | {"sizes": small} if isinstance(network, dict) else small)
    return resident_peak(lambda: train(network))
