"""Layers of one shape in one call beside a call for each: NumPy and torch, forward alone and with all gradients.

python -m bench batched                     8 layers of [512, 512], B = 64, n = 3, float32, direct
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

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
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each comparison (default: 10)")
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Time both ways in turn, for every library and pass."""
    rng = np.random.default_rng(0)
    nodes = [(options.nodes, 3)] * 4
    shapes = [(options.batch, options.nodes), *nodes, (options.nodes,), (options.batch, options.nodes)]
    arrays = [rng.standard_normal((options.sets, *shape), dtype=np.float32) for shape in shapes]
    rows: list[Row] = []
    for library, forward, step in (("numpy", _numpy_forward, _numpy_step), ("torch", _torch_forward, _torch_step)):
        for name, one_pass in (("forward", forward), ("forward + backward", step)):
            together = one_pass([arrays])[0]
            apart = one_pass([[a[s] for a in arrays] for s in range(options.sets)])
            times = interleave({"one call": together, "calls": lambda runs=apart: [r() for r in runs]}, options.seconds)
            row = {"library": library, "pass": name, "sets": options.sets, "nodes": options.nodes}
            rows.append({**row, "batch": options.batch, **ratio(times["one call"], times["calls"])})
    report("one call (ours) beside a call for each set (theirs), direct, float32", rows, options.save)


def _numpy_forward(calls: list[Arrays]) -> list[Run]:
    return [lambda a=arrays: pn.particle_linear(*a[:6], method="direct") for arrays in calls]


def _numpy_step(calls: list[Arrays]) -> list[Run]:
    def step(arrays: Arrays) -> object:
        _, pull_back = pn.particle_linear_vjp(*arrays[:6], method="direct")
        return pull_back(arrays[6])

    return [lambda a=arrays: step(a) for arrays in calls]


def _torch_forward(calls: list[Arrays]) -> list[Run]:
    tensors = [[torch.from_numpy(a) for a in arrays] for arrays in calls]
    return [lambda t=each: pn.particle_linear(*t[:6], method="direct") for each in tensors]


def _torch_step(calls: list[Arrays]) -> list[Run]:
    def step(tensors: list[torch.Tensor]) -> object:
        z = pn.particle_linear(*tensors[:6], method="direct")
        return torch.autograd.grad(z, tensors[:6], tensors[6])

    tensors = [[torch.from_numpy(a).requires_grad_(k < 6) for k, a in enumerate(arrays)] for arrays in calls]
    return [lambda t=each: step(t) for each in tensors]
