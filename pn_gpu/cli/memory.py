"""``pn-gpu memory``."""

from __future__ import annotations

import argparse
import math
from typing import Any

from pn_gpu.footprint import OPTIMIZERS, Footprint, dense_footprint, particle_footprint
from pn_gpu.model.model import DTYPES

HELP = "memory of a network, beside the dense network of its shape"
DESCRIPTION = """\
Print what a Particle Network and the dense network of the same shape take: parameters, gradient, optimiser state,
activations, workspace, peak memory in training and inference, bytes on disk and bytes for every exchange of gradients.
By formula: nothing is allocated, so any size can be asked for.

  pn-gpu memory --sizes 784,512,10 --dim 3 --batch 100
  pn-gpu memory --sizes 1000000,1000000 --dim 2 --optimizer rmsprop
"""


ROWS: dict[str, str] = {
    "parameters, bytes": "parameters",
    "fixed positions": "fixed",
    "gradient": "gradient",
    "optimiser state": "optimizer_state",
    "copy to go back to": "rollback",
    "batch": "batch",
    "activations": "activations",
    "workspace, training": "training_workspace",
    "workspace, inference": "inference_workspace",
    "peak, training": "training_peak",
    "peak, inference": "inference_peak",
    "file on disk": "file",
    "gradient exchange": "gradient_exchange",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    parser.add_argument("--sizes", required=True, metavar="N,N", help="nodes at every level, inputs first")
    parser.add_argument("--dim", type=int, default=3, help="dimensions of the particles' positions (default: 3)")
    parser.add_argument(
        "--dipole-dim", type=int, metavar="D", help="dimensions of the particles' dipoles (default: those of positions)"
    )
    parser.add_argument(
        "--model", choices=("dipole", "charge-phase"), default="dipole", help="what a node is (default: dipole)"
    )
    parser.add_argument("--fixed-inputs", action="store_true", help="positions of the inputs are given, not trained")
    parser.add_argument(
        "--dipole-places", type=int, metavar="G", help="places between which such inputs' dipoles are interpolated"
    )
    parser.add_argument("--unshared", action="store_true", help="node sets of its own for every layer")
    parser.add_argument(
        "--batch", type=int, default=100, metavar="B", dest="batch_size", help="examples in a batch (default: 100)"
    )
    parser.add_argument("--optimizer", choices=list(OPTIMIZERS), default="adam", help="(default: adam)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="(default: float32)")


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    sizes = _parse_sizes(options.sizes)
    common = {"batch_size": options.batch_size, "optimizer": options.optimizer, "dtype": options.dtype}
    particle = particle_footprint(
        sizes,
        options.dim,
        dipole_dim=options.dipole_dim,
        model=options.model.replace("-", "_"),
        shared=not options.unshared,
        fixed_positions=options.fixed_inputs,
        num_dipole_places=options.dipole_places,
        **common,
    )
    dense = dense_footprint(sizes, **common)
    dipole_dim = "" if options.dipole_dim is None else f", d = {options.dipole_dim}"
    print(
        f"{'-'.join(map(str, sizes))}, n = {options.dim}{dipole_dim}, {options.model}, batches of {options.batch_size},"
        f" {options.optimizer}, {options.dtype}"
    )
    print(format_table(particle, dense))


def _parse_sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--sizes: got {text!r}, want at least two numbers of nodes, such as 784,512,10")
    return [int(part) for part in parts]


def format_bytes(count: int) -> str:
    """``count`` bytes in a unit that people read: 812 B, 33.4 kB, 1.24 GB (powers of 1000)."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"


def format_table(particle: Footprint, dense: Footprint) -> str:
    """Both side by side, with how many times the dense network takes."""
    rows: list[tuple[str, str, str, str]] = [("", "particle", "dense", "dense / particle")]
    rows.append(_row("parameters", particle.num_parameters, dense.num_parameters, "{:,}".format))
    for label, name in ROWS.items():
        rows.append(_row(label, getattr(particle, name), getattr(dense, name), format_bytes))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(size) for text, size in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(label: str, particle: int, dense: int, form: Any) -> tuple[str, str, str, str]:
    ratio = dense / particle if particle else math.nan
    text = "" if math.isnan(ratio) else f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:,.0f}"
    return label, form(particle), form(dense), text
