"""Derivatives beyond the gradient beside plain torch on a stored W, and KeOps: a product with the Hessian of a loss by
inputs and particles, and the forward mode of a layer, in time and in peak memory.

Every provider runs the same code on its own layer, so torch, and KeOps where it can, differentiate what they recorded.
The Hessian is that of sum(sin z), by gradients of gradients. Memory is resident memory beyond that of arguments and
results, each provider in a fresh process.

python -m bench derivatives                                 N = M = 1024 and 4096, B = 64, n = 3
python -m bench derivatives --nodes 1024 --batch 16
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import pn_gpu as pn
from bench.harness import add_save_option, in_fresh_process, interleave, ratio, report, resident_peak
from bench.layers import random_layer
from bench.rivals import expanded_linear, keops_linear, rivals

Tensor = Any
OURS = "pn_gpu direct"
LINEAR: dict[str, Callable[..., Tensor]] = {
    OURS: partial(pn.particle_linear, method="direct"),
    "torch expanded": expanded_linear,
    "keops": keops_linear,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--nodes", nargs="+", type=int, default=[1024, 4096], help="N = M (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="default: 64")
    parser.add_argument("--dim", type=int, default=3, help="dimensions n (default: 3)")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for one comparison (default: 20)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds taken in any case (default: 5)")
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Both derivatives for each size."""
    missing = {name: rival.missing for name, rival in rivals(compiled=False).items() if name in LINEAR}
    if missing["torch expanded"]:
        raise ImportError(missing["torch expanded"])
    names = [name for name in LINEAR if not missing.get(name)]
    for name in set(LINEAR) - set(names):
        print(f"skipped: {name}: {missing[name]}")
    rows = []
    for nodes in options.nodes:
        sizes = options.batch, nodes, nodes, options.dim
        for derivative in DERIVATIVES:
            rows += _compare(derivative, _able(names, derivative, sizes), sizes, options)
    report(f"derivatives beyond the gradient, n = {options.dim}, float32", rows, options.save)


def _compare(
    derivative: str, names: Sequence[str], sizes: tuple[int, ...], options: argparse.Namespace
) -> list[dict[str, object]]:
    times = interleave({name: _call(name, derivative, sizes) for name in names}, options.seconds, options.rounds)
    peaks = {name: in_fresh_process(_peak, name, derivative, sizes) for name in names}
    rows = []
    for name in names:
        measured = ratio(times[OURS], times[name])
        rows.append(
            {
                "derivative": derivative,
                "N=M": sizes[1],
                "B": sizes[0],
                "provider": name,
                "median_ms": measured["theirs_ms"],
                "times_ours": round(float(np.median(times[name] / times[OURS])), 2),
                "rounds": measured["rounds"],
                "peak_mb": round(peaks[name], 1),
            }
        )
    return rows


def _able(names: Sequence[str], derivative: str, sizes: tuple[int, ...]) -> list[str]:
    """Those that compute the derivative, and rightly."""
    want = [np.asarray(part) for part in _call("torch expanded", derivative, sizes)()]
    able = []
    for name in names:
        try:
            got = [np.asarray(part) for part in _call(name, derivative, sizes)()]
        except (RuntimeError, NotImplementedError) as error:
            if name.startswith("pn_gpu"):
                raise
            print(f"skipped: {name}, {derivative}: {' '.join(str(error).split())[:200]}")
            continue
        for part, exact in zip(got, want, strict=True):
            error = np.linalg.norm(part - exact) / np.linalg.norm(exact)
            if not error < 1e-3:
                raise SystemExit(f"{name}: wrong {derivative}, error {error:.1e}")
        able.append(name)
    return able


def hessian_product(linear: Callable[..., Tensor], point: Sequence[Tensor], u: Sequence[Tensor]) -> Sequence[Tensor]:
    """H u of sum(sin z), by gradients of gradients."""
    import torch

    arguments = [p.requires_grad_() for p in point]
    gradient = torch.autograd.grad(linear(*arguments).sin().sum(), arguments, create_graph=True)
    return torch.autograd.grad(gradient, arguments, u)


def forward_mode(linear: Callable[..., Tensor], point: Sequence[Tensor], u: Sequence[Tensor]) -> Sequence[Tensor]:
    """z and its tangent."""
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(p, t) for p, t in zip(point, u, strict=True)]
        return forward_ad.unpack_dual(linear(*duals))


DERIVATIVES = {"H u": hessian_product, "jvp": forward_mode}


def _call(name: str, derivative: str, sizes: tuple[int, ...]) -> Callable[[], Sequence[Tensor]]:
    import torch

    torch.manual_seed(1)
    point = [torch.from_numpy(a) for a in random_layer(*sizes)[:-1]]
    u = [torch.randn_like(p) for p in point]

    def call() -> Sequence[Tensor]:
        return [part.detach() for part in DERIVATIVES[derivative](LINEAR[name], [p.detach() for p in point], u)]

    return call


def _peak(name: str, derivative: str, sizes: tuple[int, ...]) -> float:
    _call(name, derivative, (sizes[0], 300, 300, sizes[3]))()  # loads and compiles whatever is needed
    call = _call(name, derivative, sizes)
    return resident_peak(lambda: sum(part.nbytes for part in call()))
