"""Peak memory of forward and backward beyond inputs, outputs and gradients, against the size of a stored W.

python -m bench memory                                      N = M = 16384, B = 64: at most 64 MB
"""

from __future__ import annotations

import argparse

import pn_gpu as pn
from bench.harness import MB, add_save_option, report, traced_peak
from bench.layers import Layer, random_layer

HELP = "peak memory beyond inputs, outputs and gradients"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--nodes", nargs="+", type=int, default=[4096, 16384], help="N = M (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="default: 64")
    parser.add_argument("--dim", type=int, default=3, help="dimensions n (default: 3)")
    add_save_option(parser)


def _peaks(layer: Layer) -> tuple[float, float]:
    """MB of a forward and of a backward."""
    forward = traced_peak(lambda: (pn.particle_linear(layer.x, *layer.particles, layer.bias, method="direct"),))
    backward = traced_peak(lambda: pn.particle_linear_backward(layer.dz, layer.x, *layer.particles, method="direct"))
    return forward, backward


def run(options: argparse.Namespace) -> None:
    """One forward and one backward for each size."""
    rows = []
    for nodes in options.nodes:
        layer = random_layer(options.batch, nodes, nodes, options.dim)
        forward, backward = _peaks(layer)
        rows.append(
            {
                "N=M": nodes,
                "B": options.batch,
                "forward_mb": round(forward, 1),
                "backward_mb": round(backward, 1),
                "stored_w_mb": round(4 * nodes**2 / MB, 1),
            }
        )
    report("peak memory beyond inputs, outputs and gradients", rows, options.save)
