"""A wide layer on a busy machine: the time of a training step beside other processes, over its time when they rest.

Processes that do nothing but work are started, three a core, for a few seconds, and ended before the benchmark is.
What the scheduler leaves to a single thread that waits for nobody is measured beside: work of that kind, about as long
as a step by the Mehler method, is the yardstick of a fair share. Small products on BLAS's own threads do far worse, for
BLAS's threads wait for one another by spinning, and lose their slices at that.

python -m bench busy                                        a layer of 4096 x 4096, n = 2, batch 128
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import pn_gpu as pn
from bench.harness import add_save_option, report
from bench.layers import planned_step, random_layer

# A busy process ends by itself, whatever becomes of the one that started it.
WORK = (
    "import time, sys\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end:\n    sum(range(9999))"
)
# Of the fair share's time, more than which the benchmark says so.
ALLOWED = 2.0
YARDSTICK = "one thread"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--nodes", type=int, default=4096, help="N = M (default: 4096)")
    parser.add_argument("--batch", type=int, default=128, help="default: 128")
    parser.add_argument("--dim", type=int, default=2, help="dimensions n (default: 2)")
    parser.add_argument("--per-core", type=int, default=3, help="busy processes for each core (default: 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each way, quiet and loaded (default: 4)")
    parser.add_argument(
        "--no-torch", action="store_true", help="leave out the dense layer of torch; so does a missing torch"
    )
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Time every way on a quiet machine and on a busy one."""
    steps = {YARDSTICK: _one_thread, **_steps(options)}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = options.per_core * cores
    quiet = {name: _times(step, options.seconds) for name, step in steps.items()}
    with busy(count, (options.seconds + 10) * len(steps)):
        loaded = {name: _times(step, options.seconds) for name, step in steps.items()}
    fair = float(np.mean(loaded[YARDSTICK]) / np.mean(quiet[YARDSTICK]))
    rows: list[dict[str, object]] = []
    for name in steps:
        # Means: a step that falls between two slices is as long as ever, the next one pays.
        factor = float(np.mean(loaded[name]) / np.mean(quiet[name]))
        rows.append(
            {
                "step": name,
                "quiet ms": round(1e3 * float(np.mean(quiet[name])), 2),
                "busy ms": round(1e3 * float(np.mean(loaded[name])), 2),
                "busy median ms": round(1e3 * float(np.median(loaded[name])), 2),
                "busy / quiet": round(factor, 2),
                "of fair share": round(factor / fair, 2),
            }
        )
    report(f"a training step beside {count} busy processes on {cores} cores", rows, options.save)
    slow = [str(row["step"]) for row in rows if float(str(row["of fair share"])) > ALLOWED]
    print(
        f"  a fair share takes {fair:.1f} times as long; more than {ALLOWED:g} times that: {', '.join(slow) or 'none'}"
    )


@contextmanager
def busy(count: int, seconds: float) -> Iterator[None]:
    """So many processes that work, until the block ends, and ``seconds`` at most."""
    processes = [subprocess.Popen([sys.executable, "-c", WORK, str(seconds)]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _one_thread() -> None:
    """About 6 ms of arithmetic."""
    a = np.full(1 << 14, 0.5)
    for _ in range(100):
        np.sin(a, out=a)


def _steps(options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    layer = random_layer(options.batch, options.nodes, options.nodes, options.dim, spread=0.5)
    steps: dict[str, Callable[[], object]] = {
        method: planned_step(layer, pn.MethodPlanner(method)) for method in ("mehler", "direct")
    }
    if not options.no_torch:
        try:
            import torch
        except ImportError:
            print("  without torch: no dense layer")
            return steps
        linear = torch.nn.Linear(options.nodes, options.nodes)
        x = torch.randn(options.batch, options.nodes, requires_grad=True)
        dz = torch.randn(options.batch, options.nodes)

        def dense() -> None:
            linear.zero_grad()
            linear(x).backward(dz)

        steps["dense torch"] = dense
    return steps


def _times(step: Callable[[], object], seconds: float) -> np.ndarray:
    """Seconds of each call, for so long and five times at least, after one that warms up."""
    step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return np.array(times)
