"""Peaks of training and inference, measured beside the formula of `pn_gpu.footprint`, for layers of growing width.

A network [N, N] takes one step of Adam by `fit` on one batch, and predicts one batch, each in a fresh process that has
first done the same with a tiny network. Two peaks are taken: NumPy's arrays alone, as tracemalloc sees them, and the
growth of resident memory, which sees every library; the parameters, made before, are added to both. The data set and
the input batch of inference belong to the caller and are not counted. "formula" is the whole prediction for the direct
method and for dense networks; the Mehler method's workspace is in no formula, so there it counts what both methods
keep: parameters, gradient, optimiser state, copy to return to, batch and activations.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import pn_gpu as pn
from bench.harness import MB, RESULTS, new_figure, report, resident_peak, save_picture, traced_peak
from pn_gpu.footprint import Footprint, dense_footprint, particle_footprint
from pn_gpu.networks.network import Network

PHASES = ("training", "inference")
WHOLE, KEPT = "all", "without workspace"
NOT_RUN = "formula only"
COLOURS = {("particle", 2): "#1f6fb4", ("particle", 3): "#d1661a", ("dense", 0): "#777777"}


class Case(NamedTuple):
    """One network [width, width]; a dense one has dim 0 and the method "stored W"."""

    network: str
    dim: int
    width: int
    batch: int
    method: str

    @property
    def sizes(self) -> list[int]:
        return [self.width, self.width]

    def footprint(self) -> Footprint:
        """The formula."""
        if self.network == "dense":
            return dense_footprint(self.sizes, batch_size=self.batch)
        return particle_footprint(self.sizes, self.dim, batch_size=self.batch)

    def make(self) -> Network:
        """The network."""
        if self.network == "dense":
            return pn.DenseNetwork(self.sizes, seed=0, backend="numpy")
        return pn.ParticleNetwork(self.sizes, self.dim, seed=0, backend="numpy", method=self.method)

    @property
    def covered(self) -> str:
        """What of the measured peak the formula speaks of."""
        return KEPT if self.method == "mehler" else WHOLE


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Particle networks by both methods, directly as long as the weights can be gone through; dense networks."""
    dims = [options.dim] if options.dim else [2, 3]
    for dim in dims:
        for width in options.widths:
            methods = ["direct", "mehler"] if width <= options.direct_up_to else ["mehler"]
            yield from (Case("particle", dim, width, options.batch, method) for method in methods)
    yield from (Case("dense", 0, width, options.batch, "stored W") for width in options.widths)


def run(options: argparse.Namespace) -> None:
    """Measure every case whose formula fits, print the table, save it and draw it."""
    if not all(width >= 1 for width in options.widths):
        raise ValueError(f"--widths: got {options.widths}, want whole numbers from 1")
    rows = []
    for case in cases(options):
        fits = case.footprint().training_peak <= options.most_gb * 1e9
        rows.append(_row(case, measured_in_fresh_processes(case) if fits else None))
        print(
            f"  {case.network} n={case.dim} {case.width} {case.method}: {rows[-1]['training_mb'] or NOT_RUN}",
            flush=True,
        )
    report(f"peak memory in MB, networks [N, N], batch {options.batch}, Adam, float32", rows, options.save)
    if options.save:
        draw(rows, options.save)


def _row(case: Case, measured: Mapping[str, tuple[float, float]] | None) -> dict[str, object]:
    formula = dict(zip(PHASES, formula_bytes(case), strict=True))
    row: dict[str, object] = {"network": case.network, "n": case.dim or "", "width": case.width, "B": case.batch}
    row |= {"method": case.method, "formula_covers": case.covered}
    for phase in PHASES:
        traced, resident = ("", "") if measured is None else (_rounded(value) for value in measured[phase])
        row |= {f"{phase}_formula_mb": _rounded(formula[phase] / MB), f"{phase}_mb": traced}
        row |= {f"{phase}_resident_mb": resident}
    return row | {"measured": NOT_RUN if measured is None else "yes"}


def _rounded(megabytes: float) -> float:
    """To four digits, and to whole kB: the table spans seven powers of ten."""
    return round(megabytes, max(0, 3 - math.floor(math.log10(max(megabytes, 1)))))


def formula_bytes(case: Case) -> tuple[int, int]:
    """Of training and of inference; without the workspace where the formula does not know it."""
    footprint = case.footprint()
    if case.covered == WHOLE:
        return footprint.training_peak, footprint.inference_peak
    return footprint.training_peak - footprint.training_workspace, footprint.parameters + footprint.activations


def measured_in_fresh_processes(case: Case) -> dict[str, tuple[float, float]]:
    """For training and for inference: MB of arrays, and of resident memory."""
    peaks = {}
    for phase in PHASES:
        command = [sys.executable, "-m", "bench", "memory", "--widths", "--peak-of", json.dumps([phase, *case])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"measuring {phase} of {case} failed: {done.stderr[-500:]}")
        peaks[phase] = tuple(json.loads(done.stdout.splitlines()[-1]))
    return peaks


def print_peak(text: str) -> None:
    """In the fresh process: the peaks of the phase and case that ``text`` names."""
    phase, *fields = json.loads(text)
    case = Case(*fields)
    # Tiny, so that imports and caches are not measured and hardly any memory is there to be used again.
    _action(phase, case._replace(width=8).make(), case.batch)()
    network = case.make()
    action = _action(phase, network, case.batch)
    arrays = 0.0

    def traced() -> int:
        nonlocal arrays
        arrays = traced_peak(action)
        return 0

    resident = resident_peak(traced)
    made_before = network.parameters.flat.nbytes / MB
    print(json.dumps([made_before + arrays, made_before + resident]))


def _action(phase: str, network: Network, batch: int) -> Callable[[], tuple[()]]:
    """A call that trains, or predicts, with one batch; it hands back nothing, so that all it made is counted."""
    rng = np.random.default_rng(0)
    x = rng.random((batch, network.sizes[0]), dtype=np.float32)
    y = rng.integers(0, network.sizes[-1], batch)

    def train() -> tuple[()]:
        network.fit(x, y, epochs=1, batch_size=batch, optimizer=pn.Adam(0.001), progress=False, seed=0)
        return ()

    def predict() -> tuple[()]:
        network.predict_proba(x, batch)
        return ()

    return train if phase == "training" else predict


def draw(rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Bytes of the training peak against the width: lines are the formula, points were measured."""
    figure = new_figure(7.6, 5.2)
    if figure is None:
        return
    axes = figure.subplots()
    for (network, dim), colour in COLOURS.items():
        own = [row for row in rows if row["network"] == network and row["n"] == (dim or "")]
        if not own:
            continue
        batch, widths = own[0]["B"], np.geomspace(min(r["width"] for r in own), max(r["width"] for r in own), 60)
        method = "direct" if network == "particle" else "stored W"
        line = [formula_bytes(Case(network, dim, round(width), batch, method))[0] for width in widths]
        label = f"particles, n = {dim}" if dim else "dense"
        axes.loglog(widths, line, color=colour, label=f"{label}: formula{', direct' if dim else ''}")
        for method, marker, face in (("direct", "o", colour), ("stored W", "o", colour), ("mehler", "D", "none")):
            points = [(r["width"], r["training_mb"] * MB) for r in own if r["method"] == method and r["training_mb"]]
            if points:
                text = f"{label}: measured{', ' + method if dim else ''}"
                axes.loglog(*zip(*points, strict=True), marker, color=colour, markerfacecolor=face, ms=7, label=text)
    axes.set_xlabel("width N = M")
    axes.set_ylabel("peak of a training step, bytes")
    _, top = axes.get_ylim()
    powers = range(6, math.ceil(math.log10(top)) + 1)
    units = ("MB", "GB", "TB", "PB")
    axes.set_yticks([10.0**k for k in powers], [f"{10 ** (k % 3)} {units[(k - 6) // 3]}" for k in powers])
    axes.set_title(f"One layer and Adam, float32, batch {rows[0]['B']}, CPU", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    save_picture(figure, RESULTS / name)
