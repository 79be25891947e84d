"""What method="auto" costs beside method="direct", whatever it chooses: it should never be much slower.

A training step (forward and all gradients) of one layer, planned by `MethodPlanner` as a network plans it, so that
the checks of the plan count. Every round times both, one after the other.

python -m bench auto                                        widths 256 to 8192, n = 2 and 3, three spreads
"""

from __future__ import annotations

import argparse

import pn_gpu as pn
from bench.harness import add_save_option, interleave, ratio, report
from bench.layers import Layer, planned_step, random_layer

# "auto" may be this much slower before the benchmark says so.
ALLOWED = 1.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--nodes", nargs="+", type=int, default=[256, 768, 2048, 6144], help="default: %(default)s")
    parser.add_argument("--batch", nargs="+", type=int, default=[16, 128], help="default: %(default)s")
    parser.add_argument("--dims", nargs="+", type=int, default=[2, 3], help="dimensions n (default: %(default)s)")
    parser.add_argument(
        "--spreads", nargs="+", type=float, default=[0.5, 1.0, 2.0], help="of the positions (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each comparison (default: 3)")
    add_save_option(parser)


def run(options: argparse.Namespace) -> None:
    """Time every layer by both."""
    rows = []
    for dim in options.dims:
        for nodes in options.nodes:
            for spread in options.spreads:
                for batch in options.batch:
                    layer = random_layer(batch, nodes, nodes, dim, spread=spread)
                    rows.append({"n": dim, "N=M": nodes, "s": spread, "B": batch, **_measure(layer, options.seconds)})
    report("training step by auto / training step by direct", rows, options.save)
    slow = [row for row in rows if row["ratio"] > ALLOWED]
    print(f"  {len(slow)} of {len(rows)} layers are more than {ALLOWED - 1:.0%} slower by auto than by direct")


def _measure(layer: Layer, seconds: float) -> dict[str, object]:
    planners = {name: pn.MethodPlanner(name) for name in ("direct", "auto")}
    steps = {name: planned_step(layer, planner) for name, planner in planners.items()}
    times = interleave(steps, seconds)
    chosen = planners["auto"].current
    assert chosen is not None
    return {"chosen": chosen.method, "features": chosen.features, **ratio(times["auto"], times["direct"])}
