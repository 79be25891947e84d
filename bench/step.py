"""A training step of one layer (forward, all gradients) beside plain torch, in time and in peak memory.

Plain torch makes W from the positions and lets autograd keep what it needs; its squared distances come from expanded
squares or from torch.cdist, its code runs eager or through torch.compile. The fastest of the four is the rival.
Memory is resident memory beyond that of inputs, outputs and gradients, each provider in a fresh process.

python -m bench step                                        N = M = 4096, B = 128, n = 3
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.harness import add_save_option, interleave, ratio, report, resident_peak
from bench.layers import Layer, random_layer

HELP = "a training step beside plain torch"
OURS, OURS_AUTO = "pn_gpu direct", "pn_gpu auto"
# Gradients in the order of the arguments of the operator.
Step = Callable[[], list[Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--nodes", type=int, default=4096, help="N = M (default: 4096)")
    parser.add_argument("--batch", type=int, default=128, help="default: 128")
    parser.add_argument("--dim", type=int, default=3, help="dimensions n (default: 3)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for the comparison (default: 60)")
    parser.add_argument("--eager-only", action="store_true", help="leave torch.compile out")
    parser.add_argument("--peak-of", metavar="PROVIDER", help=argparse.SUPPRESS)
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Check, time and weigh every provider; with --peak-of, print the peak memory of one in MB."""
    layer = random_layer(options.batch, options.nodes, options.nodes, options.dim)
    if options.peak_of:
        print(json.dumps(_peak(options.peak_of, layer, options.dim)))
        return
    steps: dict[str, Step] = {OURS: _our_step(layer, "direct"), OURS_AUTO: _our_step(layer, "auto")}
    for name in ("expanded", "cdist"):
        steps[f"torch {name}"] = _torch_step(layer, name, compiled=False)
        if not options.eager_only:
            steps[f"torch {name} compiled"] = _torch_step(layer, name, compiled=True)
    wanted = [np.asarray(a) for a in steps["torch expanded"]()]
    for name, step in steps.items():
        bound = 1e-2 if name == OURS_AUTO else 1e-3  # rtol is 1e-3 for the weights, and position gradients err more
        for got, want in zip(step(), wanted, strict=True):
            error = np.linalg.norm(np.asarray(got) - want) / np.linalg.norm(want)
            if not error < bound:
                raise SystemExit(f"{name}: wrong gradient, error {error:.1e}")
    times = interleave(steps, options.seconds)
    peaks = {name: _peak_in_fresh_process(name, options) for name in steps}
    rows = []
    for name in steps:
        times_of = ratio(times[OURS], times[name])
        row = {"provider": name, "median_ms": times_of["theirs_ms"], "rounds": times_of["rounds"]}
        row["times_ours"] = round(1 / float(str(times_of["ratio"])), 2)
        row["peak_mb"] = round(peaks[name], 1)
        row["peak_times_ours"] = round(peaks[name] / peaks[OURS], 1)
        rows.append(row)
    title = f"training step, N = M = {options.nodes}, B = {options.batch}, n = {options.dim}, float32"
    report(title, rows, options.save)
    rivals = [row for row in rows if row["provider"] not in (OURS, OURS_AUTO)]
    fastest = min(rivals, key=lambda row: row["median_ms"])
    print(f"  the fastest plain torch, {fastest['provider']}, takes {fastest['times_ours']} times as long as {OURS}")


def _our_step(layer: Layer, method: str) -> Step:
    planner = pn.MethodPlanner(method)

    def step() -> list[np.ndarray]:
        plan = planner.plan(len(layer.x), *layer.particles)
        pn.particle_linear(layer.x, *layer.particles, layer.bias, method=plan)
        gradient = pn.particle_linear_backward(layer.dz, layer.x, *layer.particles, method=plan)
        return list(gradient)

    return step


def _torch_step(layer: Layer, distances: str, compiled: bool) -> Step:
    import torch

    *arguments, dz = (torch.from_numpy(a) for a in layer)
    arguments = [a.requires_grad_() for a in arguments]

    def linear(x, r_in, v_in, r_out, v_out, bias):  # type: ignore[no-untyped-def]
        if distances == "cdist":
            s = torch.cdist(r_in, r_out).square()
        else:
            s = r_in.square().sum(1)[:, None] + r_out.square().sum(1) - 2 * r_in @ r_out.T
        return torch.addmm(bias, x, (v_in @ v_out.T) * torch.exp(-s))

    if compiled:
        linear = torch.compile(linear)

    def step() -> list[Any]:
        return list(torch.autograd.grad(linear(*arguments), arguments, dz))

    return step


def _make_step(provider: str, layer: Layer) -> Step:
    if provider in (OURS, OURS_AUTO):
        return _our_step(layer, "direct" if provider == OURS else "auto")
    return _torch_step(layer, provider.split()[1], compiled=provider.endswith("compiled"))


def _peak(provider: str, layer: Layer, dim: int) -> float:
    # A small layer first loads and compiles whatever is needed.
    _make_step(provider, random_layer(16, 300, 300, dim))()
    step = _make_step(provider, layer)
    outputs = layer.dz.nbytes
    return resident_peak(lambda: sum(np.asarray(g).nbytes for g in step()) + outputs)


def _peak_in_fresh_process(provider: str, options: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "bench", "step", "--peak-of", provider]
    command += ["--nodes", str(options.nodes), "--batch", str(options.batch), "--dim", str(options.dim)]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
