"""The results of `bench distillation` as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.result_lines import unique, write_markdown

Row = dict[str, str]


def write_report(rows: Sequence[Row], folder: Path) -> str:
    """Write distillation.md into ``folder``; returns it."""
    if not rows:
        return "distillation: no results yet"
    text = _markdown(rows)
    write_markdown(folder / "distillation.md", text)
    return text


def _markdown(rows: Sequence[Row]) -> str:
    lines = [
        "# Dense networks replaced by particles",
        "",
        "Written by `python -m bench distillation`; `distillation.csv` has every seed. MNIST, test accuracy in percent,"
        " mean over the seeds. `fit`: every layer is the particle layer of nearest weights (`from_linear`), nothing is"
        " trained; below it the same layers after the steps named, from the fit or from a fresh start (the steps of"
        " the dense network's own training not counted). Errors are"
        " |W - W'| / |W| (Frobenius), layer by layer, beside those of low-rank matrices of as many numbers.",
    ]
    for (network,) in unique(rows, "network"):
        own = [row for row in rows if row["network"] == network]
        dims = unique(own, "dim", "dipole_dim")
        steps = ", ".join(value for (value,) in unique(own, "steps") if value)
        lines += ["", f"## {network}", ""]
        lines += [f"{steps} steps; seeds: {len(unique(own, 'seed'))}.", ""]
        lines += ["| | " + " | ".join(f"n = {n}, d = {d}" for n, d in dims) + " |", "| --- |" + " ---: |" * len(dims)]
        for (stage,) in unique(own, "stage"):
            at = [[r for r in own if (r["dim"], r["dipole_dim"]) == pair and r["stage"] == stage] for pair in dims]
            lines.append(f"| {stage} | {' | '.join(map(_accuracy, at))} |")
        last = [[r for r in own if (r["dim"], r["dipole_dim"]) == pair and r["errors"]][-1:] for pair in dims]
        lines.append(f"| errors of the fit | {' | '.join(part[0]['errors'] if part else '' for part in last)} |")
        low = " | ".join(part[0]["low_rank_errors"] if part else "" for part in last)
        lines.append(f"| of low rank | {low} |")
        dense = next((int(row["parameters"]) for row in own if row["stage"] == "dense"), 0)
        counts = " | ".join(f"{int(part[0]['parameters']):,}" if part else "" for part in last)
        lines.append(f"| parameters (dense: {dense:,}) | {counts} |")
    cpu, torch = (", ".join(value for (value,) in unique(rows, name)) for name in ("cpu", "torch"))
    lines += ["", f"{cpu}, one thread; torch {torch}."]
    return "\n".join(lines) + "\n"


def _accuracy(rows: Sequence[Row]) -> str:
    values = np.array([100 * float(row["test_accuracy"]) for row in rows])
    if len(values) == 0:
        return ""
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"
