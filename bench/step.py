"""A training step of one layer (forward, all gradients) beside its rivals, in time and in peak memory.

Plain torch makes W from the positions and lets autograd keep what it needs; its squared distances come from expanded
squares or from torch.cdist, its code runs eager or through torch.compile. KeOps reduces a symbolic W. nn.Linear is the
dense layer itself: it is handed W, and its memory counts W and the gradient of W. A rival that cannot run here is
skipped by name, with the reason. Memory is resident memory beyond that of inputs, outputs and gradients, each provider
in a fresh process.

python -m bench step                                        N = M = 4096, B = 128, n = 3
python -m bench step --providers keops --rounds 1           KeOps alone, which takes a minute or more for a round
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.harness import MB, add_save_option, interleave, ratio, report, resident_peak
from bench.layers import Layer, Step, planned_step, random_layer
from bench.rivals import Rival, rivals, stored_weight_gradients

OURS, OURS_AUTO = "pn_gpu direct", "pn_gpu auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--nodes", type=int, default=4096, help="N = M (default: 4096)")
    parser.add_argument("--batch", type=int, default=128, help="default: 128")
    parser.add_argument("--dim", type=int, default=3, help="dimensions n (default: 3)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for the comparison (default: 60)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds taken in any case (default: 5)")
    parser.add_argument(
        "--providers", nargs="+", metavar="NAME", help=f"default: all, which are {', '.join(providers())}"
    )
    parser.add_argument("--eager-only", action="store_true", help="leave torch.compile out")
    parser.add_argument("--peak-of", metavar="PROVIDER", help=argparse.SUPPRESS)
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Check, time and weigh every provider; with --peak-of, print the peak memory of one in MB."""
    layer = random_layer(options.batch, options.nodes, options.nodes, options.dim)
    if options.peak_of:
        print(json.dumps(_peak(providers()[options.peak_of], layer, options.dim)))
        return
    if options.rounds < 1:
        raise ValueError(f"--rounds: got {options.rounds}, want at least 1")
    chosen = _choose(options)
    steps, skipped = _checked_steps(chosen, layer)
    for name, reason in skipped.items():
        print(f"skipped: {name}: {reason}")
    if not set(steps) - {OURS, OURS_AUTO}:
        print("nothing is left to compare with")
        return
    times = interleave(steps, options.seconds, options.rounds)
    peaks = {name: _peak_in_fresh_process(name, options) for name in steps}
    rows = [_row(name, times, peaks) for name in steps]
    title = f"training step, N = M = {options.nodes}, B = {options.batch}, n = {options.dim}, float32"
    report(title, rows, options.save)
    plain = [row for row in rows if row["provider"].startswith("torch ")]
    if plain:
        fastest = min(plain, key=lambda row: row["median_ms"])
        print(
            f"  the fastest plain torch, {fastest['provider']}, takes {fastest['times_ours']} times as long as {OURS}"
        )


def providers(compiled: bool = True) -> dict[str, Rival]:
    """This library's direct method, which the others are compared with, its default, and all rivals."""
    ours = {OURS: Rival(partial(_our_step, method="direct")), OURS_AUTO: Rival(partial(_our_step, method="auto"))}
    return ours | rivals(compiled)


def _choose(options: argparse.Namespace) -> dict[str, Rival]:
    """The providers that were asked for, and the direct method."""
    known = providers(not options.eager_only)
    wanted = options.providers or list(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"--providers: got {name!r}, want some of {', '.join(map(repr, known))}")
    return {name: rival for name, rival in known.items() if name == OURS or name in wanted}


def _checked_steps(chosen: Mapping[str, Rival], layer: Layer) -> tuple[dict[str, Step], dict[str, str]]:
    """Steps that have run once and are right, by name; of those that cannot run here, the reason."""
    wanted = stored_weight_gradients(layer)
    steps: dict[str, Step] = {}
    skipped: dict[str, str] = {}
    for name, rival in chosen.items():
        if rival.missing:
            skipped[name] = rival.missing
            continue
        try:
            step = rival.make(layer)
            gradients = step()
        except Exception as error:
            if name in (OURS, OURS_AUTO):
                raise
            # Compilers of others fail in ways of their own: what they said is the reason.
            skipped[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        _check(name, gradients, wanted)
        steps[name] = step
    return steps, skipped


def _check(name: str, gradients: Mapping[str, Any], wanted: Mapping[str, np.ndarray]) -> None:
    bound = 1e-2 if name == OURS_AUTO else 1e-3  # rtol is 1e-3 for the weights, and position gradients err more
    for key, got in gradients.items():
        error = np.linalg.norm(np.asarray(got) - wanted[key]) / np.linalg.norm(wanted[key])
        if not error < bound:
            raise SystemExit(f"{name}: wrong gradient {key}, error {error:.1e}")


def _row(name: str, times: Mapping[str, np.ndarray], peaks: Mapping[str, float]) -> dict[str, Any]:
    times_of = ratio(times[OURS], times[name])
    return {
        "provider": name,
        "median_ms": times_of["theirs_ms"],
        "rounds": times_of["rounds"],
        "times_ours": round(1 / float(str(times_of["ratio"])), 2),
        "peak_mb": round(peaks[name], 1),
        "peak_times_ours": round(peaks[name] / peaks[OURS], 2),
    }


def _our_step(layer: Layer, method: str) -> Step:
    return planned_step(layer, pn.MethodPlanner(method))


def _peak(rival: Rival, layer: Layer, dim: int) -> float:
    # A small layer of as many rows first loads and compiles whatever is needed.
    rival.make(random_layer(len(layer.x), 300, 300, dim))()
    step = rival.make(layer)
    outputs = layer.dz.nbytes
    peak = resident_peak(lambda: sum(np.asarray(gradient).nbytes for gradient in step().values()) + outputs)
    return peak + (layer.x.shape[1] * layer.dz.shape[1] * layer.x.itemsize / MB if rival.stores_weights else 0)


def _peak_in_fresh_process(provider: str, options: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "bench", "step", "--peak-of", provider]
    command += ["--nodes", str(options.nodes), "--batch", str(options.batch), "--dim", str(options.dim)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return float(json.loads(lines[-1]))  # KeOps may have said something before
