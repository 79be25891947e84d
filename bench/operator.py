"""Forward and backward of the operator beside NumPy's products with a stored weight matrix.

The rival is handed W for nothing: forward against x @ W, backward (all gradients) against dz @ W.T and x.T @ dz.
A ratio of 1.2 says that making every weight anew costs a fifth on top of multiplying by it. The forward of a plain
threaded program (bench/plain_tiles.py) runs beside it: plain_ratio is its time over that of x @ W.

python -m bench operator                                    N = M = 4096, n = 3, float32
python -m bench operator --layers 784x128 128x10 --batch 100
python -m bench operator --batch 128 --spreads 0.5 1 2 4    how far apart the particles are should cost nothing
"""

from __future__ import annotations

import argparse

import numpy as np

import pn_gpu as pn
from bench.harness import add_save_option, interleave, ratio, report
from bench.layers import Layer, random_layer
from bench.plain_tiles import forward as plain_forward
from bench.plain_tiles import make_pool

# Worst error over the largest entry; a wrong kernel errs by 1.
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--layers", nargs="+", default=["4096x4096"], metavar="NxM", help="default: 4096x4096")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 16, 64, 128, 512], help="default: %(default)s")
    parser.add_argument("--dim", type=int, default=3, help="dimensions n (default: 3)")
    parser.add_argument(
        "--spreads", nargs="+", type=float, default=[0.5], help="standard deviations of the positions (default: 0.5)"
    )
    parser.add_argument("--dtype", choices=list(TOLERANCE), default="float32", help="default: float32")
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each comparison (default: 6)")
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Check and time every layer and batch."""
    rows = []
    for size in options.layers:
        n_in, n_out = map(int, size.split("x"))
        for batch in options.batch:
            for spread in options.spreads:
                layer = random_layer(batch, n_in, n_out, options.dim, options.dtype, spread=spread)
                rows += [{"s": spread, **row} for row in _measure(layer, options.seconds)]
    report(f"time of the operator / time of products with a stored W, n = {options.dim}", rows, options.save)


def _measure(layer: Layer, seconds: float) -> list[dict[str, object]]:
    w = pn.dense_weight(*layer.particles)
    x, dz = layer.x, layer.dz
    ours = {
        "forward": lambda: pn.particle_linear(x, *layer.particles, layer.bias, method="direct"),
        "backward": lambda: pn.particle_linear_backward(dz, x, *layer.particles, method="direct"),
    }
    theirs = {"forward": lambda: x @ w, "backward": lambda: (dz @ w.T, x.T @ dz)}
    _check(ours["forward"](), x @ w + layer.bias)
    _check(ours["backward"]().dx, dz @ w.T)
    ones_in, ones_out = (np.ones((len(r), 1), r.dtype) for r in (layer.r_in, layer.r_out))
    kernel = pn.dense_weight(layer.r_in, ones_in, layer.r_out, ones_out)
    _check(ours["backward"]().dv_in, ((x.T @ dz) * kernel) @ layer.v_out)
    pool = make_pool()
    plain = {"forward": lambda: plain_forward(layer, pool)}
    _check(plain["forward"](), x @ w + layer.bias)
    rows = []
    for name in ours:
        rivals = {"plain": plain[name]} if name in plain else {}
        times = interleave({"theirs": theirs[name], "ours": ours[name], **rivals}, seconds)
        shape = {"pass": name, "N": len(w), "M": w.shape[1], "B": len(x), "dtype": x.dtype.name}
        plain_ratio = ratio(times["plain"], times["theirs"])["ratio"] if name in plain else ""
        ours_ratio = ratio(times["ours"], times["theirs"])
        rows.append({**shape, **ours_ratio, "plain_ratio": plain_ratio})
    pool.shutdown()
    return rows


def _check(got: np.ndarray, want: np.ndarray) -> None:
    error = np.abs(got - want).max() / np.abs(want).max()
    if not error <= TOLERANCE[got.dtype.name]:
        raise SystemExit(f"wrong result: error {error:.1e}")
