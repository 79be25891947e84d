"""Wide layers by the Mehler method against a dense layer that stores its W.

    python -m bench.wide               training steps against three dense products, error beside each
    python -m bench.wide --million     a million particles by a million: seconds and peak memory
    python -m bench.wide --widths      cost against width, from a thousand to a million, with a plot

A dense step is x @ W, dz @ W.T and x.T @ dz on a stored W. Every round times all one after the other; "faster" is
the dense step's time over that of the Mehler method, "with plan" counts the plan of a single call too, and "in torch"
is a plain writing of the same expansion with autograd (nan without torch). Ratios are medians over the rounds. Files
go to bench/results/.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pn_gpu as pn
from bench.harness import SPIN_SECONDS
from bench.wide_rival import make_step
from pn_gpu.kernels.numpy.threads import num_threads
from pn_gpu.planning.calibration import machine_costs

RESULTS = Path(__file__).parent / "results"
CASES = [(2, 0.5), (2, 1.0), (3, 0.5)]  # n and the spread of the positions
WIDTHS = [1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
DENSE_WIDTHS = [1000, 2000, 4000, 8000, 16_000]


class Layer(NamedTuple):
    """Arguments of one layer, float32."""

    x: np.ndarray  # [B, N]
    dz: np.ndarray  # [B, M]
    particles: tuple[np.ndarray, ...]
    bias: np.ndarray  # [M]


class Row(NamedTuple):
    """One line of the table."""

    n: int
    spread: float
    width: int
    batch: int
    rtol: float
    features: int
    exact: int
    dense_ms: float
    mehler_ms: float
    ratio: float
    planned_ratio: float
    torch_ratio: float
    z_error: float
    gradient_error: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--million", action="store_true", help="a million particles by a million")
    parser.add_argument("--widths", action="store_true", help="cost against width, with a plot")
    parser.add_argument("--rounds", type=int, default=9, help="rounds per case (default: 9)")
    parser.add_argument("--rtol", type=float, default=1e-3, help="tolerance (default: 1e-3)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384], help="N = M of the table")
    parser.add_argument("--no-files", action="store_true", help="print only")


def run(args: argparse.Namespace) -> None:
    """Run what the options ask for."""
    machine_costs(np.empty(0, np.float32))
    if args.million:
        million(args)
    elif args.widths:
        widths(args)
    else:
        table(args)


def table(args: argparse.Namespace) -> None:
    """Training steps against dense ones."""
    rows = []
    print(
        f"{'n':>2} {'s':>4} {'N=M':>6} {'P':>5} {'exact':>6} {'dense ms':>9} {'mehler ms':>9} "
        f"{'faster':>7} {'with plan':>9} {'in torch':>8} {'z error':>8} {'worst gradient':>14}"
    )
    for n, spread in CASES:
        for width in args.sizes:
            row = _compare(n, spread, width, 128, args.rtol, max(args.rounds // (3 if width > 8192 else 1), 3))
            rows.append(row)
            print(
                f"{n:2} {spread:4} {width:6} {row.features:5} {row.exact:6} {row.dense_ms:9.1f} "
                f"{row.mehler_ms:9.2f} {row.ratio:6.1f}x {row.planned_ratio:8.1f}x {row.torch_ratio:7.1f}x "
                f"{row.z_error:8.1e} {row.gradient_error:14.1e}",
                flush=True,
            )
    if not args.no_files:
        _write_csv(RESULTS / "cpu_wide.csv", Row._fields, rows)


def million(args: argparse.Namespace) -> None:
    """One forward and backward of a layer of 10^6 x 10^6 weights, planning included."""
    width, batch = 1_000_000, 16
    layer = _make_layer(2, 0.5, width, batch)
    plan = pn.plan(*layer.particles, batch=batch, rtol=args.rtol)
    del plan  # costs measured, threads started
    start = time.perf_counter()
    plan = pn.plan(*layer.particles, batch=batch, rtol=args.rtol)
    planned = time.perf_counter()
    z, gradient = _step(layer, plan)
    done = time.perf_counter()
    peak = _peak_bytes()
    assert np.isfinite(z).all()
    assert np.isfinite(gradient.dr_in).all()
    error = pn.approximation_error(*layer.particles, plan=plan)
    print(plan)
    print(f"plan {planned - start:.2f} s, forward and backward {done - planned:.2f} s, together {done - start:.2f} s")
    print(f"peak memory of the process {peak / 1e9:.2f} GB, inputs and results included; W would be 4 TB")
    print(f"measured error {error.estimate:.1e}, at most {error.certificate:.1e}")
    if not args.no_files:
        names = ("width", "batch", "rtol", "features", "plan_s", "step_s", "peak_gb", "error", "certificate")
        values = (
            width,
            batch,
            args.rtol,
            plan.features,
            planned - start,
            done - planned,
            peak / 1e9,
            *error[:2],
        )
        _write_csv(RESULTS / "cpu_wide_million.csv", names, [values])


def widths(args: argparse.Namespace) -> None:
    """Seconds of a training step against the width, Mehler and dense."""
    batch, rows = 16, []
    for width in WIDTHS:
        rows.append(("mehler", width, _mehler_seconds(width, batch, args.rtol, args.rounds if width < 1e5 else 3)))
        print(f"mehler {width:8} {rows[-1][2] * 1e3:10.2f} ms", flush=True)
    for width in DENSE_WIDTHS:
        rows.append(("dense", width, _dense_seconds(width, batch, args.rounds)))
        print(f"dense  {width:8} {rows[-1][2] * 1e3:10.2f} ms", flush=True)
    for name in ("mehler", "dense"):
        points = [(width, seconds) for method, width, seconds in rows if method == name and width >= 4000]
        logs = np.log([[a, b] for a, b in points])
        print(f"{name}: slope {np.polyfit(logs[:, 0], logs[:, 1], 1)[0]:.2f} from a width of 4000 on")
    if not args.no_files:
        _write_csv(RESULTS / "cpu_wide_widths.csv", ("method", "width", "seconds"), rows)
        _plot(rows, batch, args.rtol)


def _make_layer(n: int, spread: float, width: int, batch: int) -> Layer:
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        a = rng.standard_normal(shape, dtype=np.float32)
        a *= np.float32(scale)
        return a

    particles = tuple(normal(width, n, scale=scale) for scale in (spread, 0.5, spread, 0.5))
    return Layer(normal(batch, width), normal(batch, width), particles, normal(width))


def _step(layer: Layer, method: str | pn.Plan, rtol: float = 1e-3) -> tuple[np.ndarray, pn.OperatorGradient]:
    z = pn.particle_linear(layer.x, *layer.particles, layer.bias, method=method, rtol=rtol)
    return z, pn.particle_linear_backward(layer.dz, layer.x, *layer.particles, method=method, rtol=rtol)


def _dense_step(layer: Layer, w: np.ndarray) -> None:
    layer.x @ w + layer.bias
    layer.dz @ w.T
    layer.x.T @ layer.dz
    layer.dz.sum(axis=0)


def _mehler_seconds(width: int, batch: int, rtol: float, rounds: int) -> float:
    layer = _make_layer(2, 0.5, width, batch)
    plan = pn.plan(*layer.particles, batch=batch, method="mehler", rtol=rtol)
    return _best(lambda: _step(layer, plan), rounds)


def _dense_seconds(width: int, batch: int, rounds: int) -> float:
    layer = _make_layer(2, 0.5, width, batch)
    w = np.random.default_rng(0).standard_normal((width, width), dtype=np.float32)
    return _best(lambda: _dense_step(layer, w), rounds)


def _compare(n: int, spread: float, width: int, batch: int, rtol: float, rounds: int) -> Row:
    layer = _make_layer(n, spread, width, batch)
    plan = pn.plan(*layer.particles, batch=batch, method="mehler", rtol=rtol)
    w = np.random.default_rng(1).standard_normal((width, width), dtype=np.float32)
    steps = [lambda: _dense_step(layer, w), lambda: _step(layer, plan), lambda: _step(layer, "mehler", rtol)]
    rival = "direct" if plan.approximation is None else _plain_step(layer, plan)
    steps += [] if isinstance(rival, str) else [rival]
    times = np.array([[_best(step, 1) for step in steps] for _ in range(rounds + 1)][1:])
    ratios = np.median(times[:, :1] / times, axis=0)
    z_error, gradient_error = _errors(layer, plan)
    return Row(
        n,
        spread,
        width,
        batch,
        rtol,
        plan.features,
        0 if plan.approximation is None else len(plan.approximation.outside_in) + len(plan.approximation.outside_out),
        float(np.median(times[:, 0])) * 1e3,
        float(np.median(times[:, 1])) * 1e3,
        float(ratios[1]),
        float(ratios[2]),
        float(ratios[3]) if len(steps) > 3 else math.nan,
        z_error,
        gradient_error,
    )


def _plain_step(layer: Layer, plan: pn.Plan) -> Callable[[], object] | str:
    assert plan.approximation is not None
    step = make_step(layer.x, layer.particles, layer.bias, layer.dz, plan.approximation.expansion)
    if not isinstance(step, str):
        error = _relative(step()[0].detach().numpy(), _step(layer, plan)[0])
        if not error < 0.1:  # it has no exact particles
            raise SystemExit(f"the plain expansion in torch is wrong: error {error:.1e}")
    return step


def _errors(layer: Layer, plan: pn.Plan) -> tuple[float, float]:
    """Relative errors (2-norm) of z and of the worst gradient against direct in float64, for 8 rows of x."""
    wide = Layer(
        layer.x[:8].astype(np.float64),
        layer.dz[:8].astype(np.float64),
        tuple(a.astype(np.float64) for a in layer.particles),
        layer.bias.astype(np.float64) * 0,
    )
    narrow = Layer(layer.x[:8], layer.dz[:8], layer.particles, layer.bias * 0)
    z, gradient = _step(narrow, plan)
    exact_z, exact = _step(wide, "direct")
    errors = [_relative(a, b) for a, b in zip(gradient, exact, strict=True)]
    return _relative(z, exact_z), max(errors)


def _relative(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def _best(function: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some calls, after a wait for BLAS to stop spinning and one call to warm up."""
    times = []
    time.sleep(SPIN_SECONDS)
    function()
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _peak_bytes() -> int:
    """Most memory this process has held: kilobytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _machine() -> str:
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return (
        f"{model}, {num_threads()} cores, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, pn_gpu {pn.__version__}"
    )


def _write_csv(path: Path, names: tuple[str, ...], rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*names, "machine"))
        for row in rows:
            values = (f"{value:.4g}" if isinstance(value, float) else value for value in row)
            writer.writerow((*values, _machine()))
    print(f"written: {path.parent.name}/{path.name}")


def _plot(rows: list[tuple[str, int, float]], batch: int, rtol: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.4))
    for name, label, colour in (
        ("dense", "dense layer, W stored", "#8c8c8c"),
        ("mehler", f"Particle layer, Mehler, rtol {rtol:g}", "#1f6fb4"),
    ):
        points = np.array([(width, seconds) for method, width, seconds in rows if method == name])
        axes.loglog(points[:, 0], points[:, 1], "o-", color=colour, label=label)
        slope = {"dense": 2, "mehler": 1}[name]
        end = np.array([points[-1, 0] / 30, points[-1, 0]])
        axes.loglog(
            end,
            points[-1, 1] * (end / end[1]) ** slope,
            "--",
            color=colour,
            alpha=0.6,
            label=f"slope {slope}",
        )
    axes.set_xlabel("width N = M")
    axes.set_ylabel("seconds per training step")
    axes.set_title(f"Cost of a layer against its width (CPU, float32, batch {batch}, n = 2)", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    for suffix in ("png", "svg"):
        figure.savefig(
            RESULTS / f"cpu_wide_widths.{suffix}",
            dpi=150,
            metadata={"Date": None} if suffix == "svg" else None,
        )
    print("written: results/cpu_wide_widths.png and .svg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    run(parser.parse_args())
