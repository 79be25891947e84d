"""Layers of one shape in one call beside a call for each: NumPy and torch, forward alone and with all gradients.

python -m bench batched                     8 layers of [512, 512], B = 64, n = 3, float32, direct
python -m bench batched --device cuda       torch's of a GPU, launches included: until the device is done
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import pn_gpu as pn
from bench.harness import Row, add_save_option, interleave, ratio, report

Arrays = list[np.ndarray]
Run = Callable[[], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--sets", type=int, default=8, help="layers S (default: 8)")
    parser.add_argument("--nodes", type=int, default=512, help="N = M (default: 512)")
    parser.add_argument("--batch", type=int, default=64, help="default: 64")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each comparison (default: 10)")
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Time both ways in turn, for every library and pass."""
    rng = np.random.default_rng(0)
    nodes = [(options.nodes, 3)] * 4
    shapes = [(options.batch, options.nodes), *nodes, (options.nodes,), (options.batch, options.nodes)]
    arrays = [rng.standard_normal((options.sets, *shape), dtype=np.float32) for shape in shapes]
    rows: list[Row] = []
    numpy, on_torch = ("numpy", _numpy_forward, _numpy_step), ("torch", _torch_forward, _torch_step)
    for library, forward, step in (numpy, on_torch) if options.device == "cpu" else (on_torch,):
        for name, one_pass in (("forward", forward), ("forward + backward", step)):
            together = one_pass([arrays], options.device)
            apart = one_pass([[a[s] for a in arrays] for s in range(options.sets)], options.device)
            calls = {"one call": together, "calls": apart}
            times = interleave(
                {key: partial(_all_of, runs, options.device) for key, runs in calls.items()}, options.seconds
            )
            row = {"library": library, "pass": name, "sets": options.sets, "nodes": options.nodes}
            rows.append({**row, "batch": options.batch, **ratio(times["one call"], times["calls"])})
    report("one call (ours) beside a call for each set (theirs), direct, float32", rows, options.save)


def _all_of(runs: list[Run], device: str) -> None:
    for run_one in runs:
        run_one()
    if device == "cuda":
        torch.cuda.synchronize()


def _numpy_forward(calls: list[Arrays], device: str) -> list[Run]:
    return [lambda a=arrays: pn.particle_linear(*a[:6], method="direct") for arrays in calls]


def _numpy_step(calls: list[Arrays], device: str) -> list[Run]:
    def step(arrays: Arrays) -> object:
        _, pull_back = pn.particle_linear_vjp(*arrays[:6], method="direct")
        return pull_back(arrays[6])

    return [lambda a=arrays: step(a) for arrays in calls]


def _torch_forward(calls: list[Arrays], device: str) -> list[Run]:
    tensors = [[torch.from_numpy(a).to(device) for a in arrays] for arrays in calls]
    return [lambda t=each: pn.particle_linear(*t[:6], method="direct") for each in tensors]


def _torch_step(calls: list[Arrays], device: str) -> list[Run]:
    def step(tensors: list[torch.Tensor]) -> object:
        z = pn.particle_linear(*tensors[:6], method="direct")
        return torch.autograd.grad(z, tensors[:6], tensors[6])

    tensors = [[torch.from_numpy(a).to(device).requires_grad_(k < 6) for k, a in enumerate(arrays)] for arrays in calls]
    return [lambda t=each: step(t) for each in tensors]
