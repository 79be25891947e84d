"""Peak memory of forward and backward beyond inputs, outputs and gradients, against the size of a stored W.

With --widths it is whole networks instead, from a thousand nodes to a million: the peak of a training step and of
inference, measured beside the formula (see bench/footprint.py).

python -m bench memory                                      N = M = 16384, B = 64: at most 64 MB
python -m bench memory --widths                             1k, 10k, 30k, 100k, 1M, n = 2 and 3, batch 16
"""

from __future__ import annotations

import argparse

import numpy as np

import pn_gpu as pn
from bench import footprint
from bench.harness import MB, add_save_option, in_fresh_process, report, traced_peak
from bench.layers import Layer, random_layer

WIDTHS = [1000, 10_000, 30_000, 100_000, 1_000_000]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--nodes", nargs="+", type=int, default=[4096, 16384], help="N = M (default: %(default)s)")
    parser.add_argument("--batch", type=int, help="default: 64, with --widths 16")
    parser.add_argument("--dim", type=int, help="dimensions n (default: 3, with --widths 2 and 3)")
    parser.add_argument("--widths", nargs="*", type=int, metavar="N", help=f"networks [N, N] (default: {WIDTHS})")
    parser.add_argument(
        "--direct-up-to", type=int, default=30_000, help="widest network by the direct method (default: 30000)"
    )
    parser.add_argument(
        "--most-gb", type=float, default=4.0, help="networks whose formula says more are not run (default: 4)"
    )
    parser.add_argument("--peak-of", metavar="CASE", help=argparse.SUPPRESS)
    add_save_option(parser)


def _peak(backward: bool, *sizes: int) -> float:
    """MB of a forward or of a backward, in a process that has seen no layer of its size."""
    for layer in (random_layer(2, 10, 10, 2), random_layer(*sizes)):
        peak = traced_peak(lambda: _backward(layer) if backward else (_forward(layer),))  # noqa: B023 - used at once
    return peak


def _forward(layer: Layer) -> np.ndarray:
    return pn.particle_linear(layer.x, *layer.particles, layer.bias, method="direct")


def _backward(layer: Layer) -> pn.OperatorGradient:
    return pn.particle_linear_backward(layer.dz, layer.x, *layer.particles, method="direct")


def run(options: argparse.Namespace) -> None:
    """One forward and one backward for each size, or the networks of --widths."""
    if options.peak_of:
        footprint.print_peak(options.peak_of)
        return
    if options.widths is not None:
        options.widths, options.batch = options.widths or WIDTHS, options.batch or 16
        footprint.run(options)
        return
    _workspaces(options)


def _workspaces(options: argparse.Namespace) -> None:
    batch, dim = options.batch or 64, options.dim or 3
    rows = []
    for nodes in options.nodes:
        forward, backward = (in_fresh_process(_peak, backward, batch, nodes, nodes, dim) for backward in (False, True))
        rows.append(
            {
                "N=M": nodes,
                "B": batch,
                "forward_mb": round(forward, 1),
                "backward_mb": round(backward, 1),
                "stored_w_mb": round(4 * nodes**2 / MB, 1),
            }
        )
    report("peak memory beyond inputs, outputs and gradients", rows, options.save)
