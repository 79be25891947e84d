"""Wide layers by the Mehler method against a dense layer that stores its W.

A dense step is x @ W, dz @ W.T and x.T @ dz on a stored W. Every round times all one after the other: "ratio" is the
dense step's time over that of the Mehler method, "planned_ratio" counts the plan of a single call too, and
"torch_ratio" is a plain writing of the same expansion with autograd (nan where there is none, with the reason). Ratios
are medians over the rounds. Files go to bench/results/.

python -m bench wide                                        training steps against three dense products, with errors
python -m bench wide --million                              a million particles by a million: seconds and peak memory
python -m bench wide --widths                               cost against width, a thousand to a million, with a plot
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.harness import RESULTS, interleave, new_figure, peak_bytes, print_row, report, save_picture
from bench.layers import Layer, Step, random_layer, training_step
from bench.rivals import autograd_step, why_no_torch
from bench.wide_rival import linear
from pn_gpu.planning.calibration import machine_costs

CASES = [(2, 0.5), (2, 1.0), (3, 0.5)]  # n and the spread of the positions
MILLION = 1_000_000
WIDTHS = [1000, 3000, 10_000, 30_000, 100_000, 300_000, MILLION]
DENSE_WIDTHS = [1000, 2000, 4000, 8000, 16_000]
# Narrower layers spend much of their time on what does not grow with them.
SLOPE_FROM = 4000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--million", action="store_true", help="a million particles by a million")
    parser.add_argument("--widths", action="store_true", help="cost against width, with a plot")
    parser.add_argument("--rounds", type=int, default=9, help="rounds per case (default: 9)")
    parser.add_argument("--rtol", type=float, default=1e-3, help="tolerance (default: 1e-3)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384], help="N = M of the table")
    parser.add_argument("--no-files", action="store_true", help="print only")


def run(options: argparse.Namespace) -> None:
    """Run what the options ask for."""
    machine_costs(np.empty(0, np.float32))  # measured now, or the first plan would take the time for it
    if options.million:
        million(options)
    elif options.widths:
        widths(options)
    else:
        table(options)


def table(options: argparse.Namespace) -> None:
    """Training steps against dense ones."""
    if why_no_torch():
        print(f"skipped: the expansion in torch: {why_no_torch()}")
    rows = []
    for n, spread in CASES:
        for width in options.sizes:
            rounds = max(options.rounds // (3 if width > 8192 else 1), 3)
            rows.append(_compare(n, spread, width, 128, options.rtol, rounds))
            print_row(rows[-1])
    report("time of a dense step / time of a training step", rows, None if options.no_files else "cpu_wide")


def _compare(n: int, spread: float, width: int, batch: int, rtol: float, rounds: int) -> dict[str, object]:
    layer = _layer(width, batch, n, spread)
    plan = pn.plan(*layer.particles, batch=batch, method="mehler", rtol=rtol)
    approximation = plan.approximation
    steps: dict[str, Callable[[], object]] = {
        "dense": _dense_step(layer),
        "mehler": lambda: training_step(layer, plan),
        "unplanned": lambda: training_step(layer, "mehler", rtol),
    }
    if approximation is None:
        print(f"skipped: the expansion in torch: {plan.reason}")
    elif not why_no_torch():
        steps["torch"] = _plain_step(layer, plan)
    times = interleave(steps, 0, rounds)
    faster = {name: float(np.median(times["dense"] / times[name])) for name in times}
    z_error, gradient_error = _errors(layer, plan)
    return {
        "n": n,
        "spread": spread,
        "width": width,
        "batch": batch,
        "rtol": rtol,
        "features": plan.features,
        "exact": 0 if approximation is None else len(approximation.left_out_in) + len(approximation.left_out_out),
        "dense_ms": _rounded(1e3 * np.median(times["dense"])),
        "mehler_ms": _rounded(1e3 * np.median(times["mehler"])),
        "ratio": _rounded(faster["mehler"]),
        "planned_ratio": _rounded(faster["unplanned"]),
        "torch_ratio": _rounded(faster.get("torch", math.nan)),
        "z_error": _rounded(z_error),
        "gradient_error": _rounded(gradient_error),
    }


def _layer(width: int, batch: int, n: int = 2, spread: float = 0.5) -> Layer:
    return random_layer(batch, width, width, n, spread=spread, dipoles=0.5)


def _dense_step(layer: Layer) -> Callable[[], None]:
    w = np.random.default_rng(1).standard_normal((len(layer.r_in), len(layer.r_out)), dtype=np.float32)

    def step() -> None:
        layer.x @ w + layer.bias
        layer.dz @ w.T
        layer.x.T @ layer.dz
        layer.dz.sum(axis=0)

    return step


def _plain_step(layer: Layer, plan: pn.Plan) -> Step:
    """The plan's expansion in torch, which has run once and is right."""
    assert plan.approximation is not None
    step = autograd_step(layer, partial(linear, expansion=plan.approximation.expansion))
    error = _relative(np.asarray(step()["dx"]), training_step(layer, plan)[1].dx)
    if not error < 0.1:  # it has no left-out particles
        raise SystemExit(f"the plain expansion in torch is wrong: error {error:.1e}")
    return step


def _errors(layer: Layer, plan: pn.Plan) -> tuple[float, float]:
    """Relative errors (2-norm) of z and of the worst gradient against direct in float64, for 8 rows of x."""
    rows = layer._replace(x=layer.x[:8], dz=layer.dz[:8], bias=np.zeros_like(layer.bias))
    z, gradient = training_step(rows, plan)
    exact_z, exact = training_step(Layer(*(a.astype(np.float64) for a in rows)), "direct")
    return _relative(z, exact_z), max(_relative(a, b) for a, b in zip(gradient, exact, strict=True))


def _relative(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def _rounded(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


def million(options: argparse.Namespace) -> None:
    """One forward and backward of a layer of 10^6 x 10^6 weights, planning included."""
    batch = 16
    layer = _layer(MILLION, batch)
    make_plan = partial(pn.plan, *layer.particles, batch=batch, rtol=options.rtol)
    make_plan()  # threads started
    start = time.perf_counter()
    plan = make_plan()
    planned = time.perf_counter()
    z, gradient = training_step(layer, plan)
    done = time.perf_counter()
    peak = peak_bytes()
    assert np.isfinite(z).all()
    assert np.isfinite(gradient.dr_in).all()
    error = pn.approximation_error(*layer.particles, plan=plan)
    row = {
        "width": MILLION,
        "batch": batch,
        "rtol": options.rtol,
        "features": plan.features,
        "plan_s": _rounded(planned - start),
        "step_s": _rounded(done - planned),
        "peak_gb": _rounded(peak / 1e9),
        "error": _rounded(error.estimate),
        "certificate": _rounded(error.certificate),
    }
    print(plan)
    title = "plan, then forward and backward; peak of the whole process, inputs and results included; W would be 4 TB"
    report(title, [row], None if options.no_files else "cpu_wide_million")


def widths(options: argparse.Namespace) -> None:
    """Seconds of a training step against the width, Mehler and dense."""
    batch, rows = 16, []
    mehler_step = partial(_mehler_step, rtol=options.rtol)
    for method, make_step, sizes in (("mehler", mehler_step, WIDTHS), ("dense", _dense_step, DENSE_WIDTHS)):
        for width in sizes:
            step = make_step(_layer(width, batch))
            times = interleave({method: step}, 0, options.rounds if width < 1e5 else 3)[method]
            rows.append({"method": method, "width": width, "seconds": _rounded(times.min())})
            print_row(rows[-1])
    report(f"seconds of a training step, batch {batch}", rows, None if options.no_files else "cpu_wide_widths")
    for method in ("mehler", "dense"):
        logs = np.log([point for point in _points(rows, method) if point[0] >= SLOPE_FROM])
        print(f"{method}: slope {np.polyfit(*logs.T, 1)[0]:.2f} from a width of {SLOPE_FROM} on")
    if not options.no_files:
        _draw(rows, batch, options.rtol)


def _mehler_step(layer: Layer, rtol: float) -> Callable[[], object]:
    plan = pn.plan(*layer.particles, batch=len(layer.x), method="mehler", rtol=rtol)
    return lambda: training_step(layer, plan)


def _points(rows: Sequence[Mapping[str, Any]], method: str) -> np.ndarray:
    return np.array([(row["width"], row["seconds"]) for row in rows if row["method"] == method])


def _draw(rows: Sequence[Mapping[str, Any]], batch: int, rtol: float) -> None:
    figure = new_figure(6.4, 4.4)
    if figure is None:
        return
    axes = figure.subplots()
    for method, label, colour, slope in (
        ("dense", "dense layer, W stored", "#8c8c8c", 2),
        ("mehler", f"Particle layer, Mehler, rtol {rtol:g}", "#1f6fb4", 1),
    ):
        points = _points(rows, method)
        axes.loglog(*points.T, "o-", color=colour, label=label)
        width, seconds = points[-1]
        line = [width / 30, width], [seconds / 30**slope, seconds]
        axes.loglog(*line, "--", color=colour, alpha=0.6, label=f"slope {slope}")
    axes.set_xlabel("width N = M")
    axes.set_ylabel("seconds per training step")
    axes.set_title(f"Cost of a layer against its width (CPU, float32, batch {batch}, n = 2)", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    save_picture(figure, RESULTS / "cpu_wide_widths")
