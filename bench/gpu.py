"""Particle layers against dense ones on a GPU: times, peak memory and the fraction of the roofline.

    python -m bench.gpu                    the whole grid, within --time-budget seconds
    python -m bench.gpu --dry-run          two tiny layers on whatever is there, to try out the plumbing

Contenders: ``particles`` (this library, every weight computed), ``particles auto`` (free to approximate to 1e-3),
``linear`` (`torch.nn.Linear`, cuBLAS on a stored W), ``materialised`` (the particle layer in plain torch, W stored and
differentiated), three of them under torch.compile, and KeOps where it is installed. Per case all take turns in the same
rounds. Writes gpu_times.csv, gpu_table.txt and plots to --output; ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import pn_gpu as pn
from bench.gpu_cases import DTYPES, PRECISIONS, Case, Contender, contenders, is_compiled
from bench.gpu_environment import describe
from bench.gpu_report import OK, Row, read_csv, table, write_csv, write_plots
from bench.gpu_roofline import Roofline, measure
from bench.gpu_timing import MEGABYTE, Stopwatch, interleaved, peak_memory
from pn_gpu.nn import ParticleLinear

PHASES = ("forward", "backward", "step")
LARGEST_CHECKED = 1024
CSV = "gpu_times.csv"
SECONDS_BETWEEN_PLOTS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--device", default=None, help="default: cuda; with --dry-run the CPU where there is none")
    parser.add_argument("--dry-run", action="store_true", help="tiny layers and few rounds, to try out the plumbing")
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="N = M (default: 1024 4096 16384)")
    parser.add_argument("--batches", type=int, nargs="+", default=None, help="B (default: 1 16 128 1024 4096)")
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 3], help="n (default: 2 3)")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--no-compile", action="store_true", help="leave out the contenders under torch.compile")
    parser.add_argument("--seconds", type=float, default=None, help="about this long per measurement (default: 0.03)")
    parser.add_argument(
        "--resume", action="store_true", help="leave out the cases that gpu_times.csv of --output holds"
    )
    parser.add_argument("--time-budget", type=float, default=330, help="begin no case after so many seconds")
    output = Path(os.environ.get("OUT", "bench/results/gpu"))
    parser.add_argument("--output", type=Path, default=output, help="folder (default: $OUT, else bench/results/gpu)")


def run(args: argparse.Namespace) -> int:
    """Measure and report; 0 if everything that could be measured was."""
    device = _device(args)
    sizes = args.sizes or ([48] if args.dry_run else [1024, 4096, 16384])
    batches = args.batches or ([1, 16] if args.dry_run else [1, 16, 128, 1024, 4096])
    seconds = args.seconds or (0.001 if args.dry_run else 0.03)
    args.output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + args.time_budget

    print(describe(device), flush=True)
    roofline = measure(device, args.dtypes, 0.2, small=args.dry_run)
    print(f"Peaks measured here: {roofline}\n", flush=True)
    report = Report(args.output, [describe(device), f"Peaks measured: {roofline}"], args.dry_run, args.resume)
    # The largest layers come first: what does not fit the budget is the rest.
    for dtype in sorted(args.dtypes, key=["bf16", "fp32", "tf32"].index):
        for size in sorted(sizes, reverse=True):
            for batch in batches:
                case = Case(size, batch, dtype)
                if report.has(case):
                    continue
                entrants = list(contenders(case, args.dims, compiled=not (args.no_compile or args.dry_run)))
                if time.monotonic() > deadline:
                    spent = f"left out: the time budget of {args.time_budget:g} s was spent"
                    report.add(_left_out(case, entrants, spent))
                    continue
                report.add(Measurement(case, device, roofline, seconds).of(entrants))
                _progress(case, report.rows)
    report.write(plots=True)
    print(table(report.rows))
    failures = [row for row in report.rows if row.failed]
    print(f"\n{len(report.rows)} measurements, {len(failures)} failed; see {args.output}")
    return 1 if failures or not any(row.status == OK for row in report.rows) else 0


class Report:
    """The files of a run, whole after every case; plots, which take a second or two, now and then and at the end."""

    def __init__(self, folder: Path, heading: list[str], is_dry: bool, resume: bool) -> None:
        self.folder, self.heading = folder, heading
        if is_dry:
            self.heading = [*heading, "A dry run of tiny layers: its times mean nothing."]
        rows = read_csv(folder / CSV) if resume else []
        # What an earlier run had no time for is measured now.
        self.rows = [row for row in rows if not row.status.startswith("left out")]
        self._last_plots = time.monotonic()

    def has(self, case: Case) -> bool:
        """Whether the case is there already."""
        return any((row.size, row.batch, row.dtype) == (case.size, case.batch, case.dtype) for row in self.rows)

    def add(self, rows: list[Row]) -> None:
        self.rows += rows
        self.write(plots=time.monotonic() - self._last_plots > SECONDS_BETWEEN_PLOTS)

    def write(self, plots: bool) -> None:
        write_csv(self.rows, self.folder / CSV)
        no_plots = ""
        if plots:
            no_plots = write_plots(self.rows, self.folder)
            self._last_plots = time.monotonic()
        parts = [*self.heading, table(self.rows), no_plots]
        (self.folder / "gpu_table.txt").write_text("\n\n".join(part for part in parts if part) + "\n")


def _device(args: argparse.Namespace) -> torch.device:
    if args.device:
        return torch.device(args.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if not args.dry_run:
        raise SystemExit("bench.gpu: torch finds no CUDA device; --dry-run tries everything out on the CPU")
    return torch.device("cpu")


class Measurement:
    """All phases of all contenders at one case."""

    def __init__(self, case: Case, device: torch.device, roofline: Roofline, seconds: float) -> None:
        self.case, self.device, self.roofline, self.seconds = case, device, roofline, seconds
        self.stopwatch = Stopwatch.of(device)
        self.x, self.dz = case.inputs(device)

    def of(self, entrants: list[Contender]) -> list[Row]:
        torch.set_float32_matmul_precision(PRECISIONS[self.case.dtype][0])
        if is_compiled(self.case):
            torch.compiler.reset()
        modules: list[tuple[Contender, nn.Module]] = []
        rows: list[Row] = []
        for entrant in entrants:
            if entrant.skip:
                rows += _left_out(self.case, [entrant], f"skipped: {entrant.skip}")
                continue
            try:
                modules.append((entrant, entrant.make(self.case, self.device)))
            except Exception as error:  # a contender that cannot be made is a line of the report
                rows += _left_out(self.case, [entrant], _reason(error))
        for phase in PHASES:
            rows += self._phase(phase, modules)
        torch.set_float32_matmul_precision("highest")
        return rows

    def _phase(self, phase: str, modules: list[tuple[Contender, nn.Module]]) -> list[Row]:
        rows: list[Row] = []
        calls: dict[str, Callable[[], object]] = {}
        by_label: dict[str, Row] = {}
        for entrant, module in modules:
            row = _row(self.case, entrant, phase)
            rows.append(row)
            try:
                row.peak_mb = self._peak_mb(phase, module)
                call = self._call(phase, module)
                if phase == "forward":
                    row.error = self._error(module)
            except Exception as error:  # likewise
                row.status = _reason(error)
                continue
            calls[row.label], by_label[row.label] = call, row
        try:
            times = interleaved(self.stopwatch, calls, self.seconds)
        except Exception as error:  # likewise
            for row in by_label.values():
                row.status = _reason(error)
            return rows
        linear = times.get("linear")
        for label, row in by_label.items():
            row.median_us, row.low_us, row.high_us, row.rounds, row.host_us, row.queued = times[label]
            row.speed_to_linear = linear.median / row.median_us if linear else None
            stored = row.contender.startswith(("linear", "materialised"))
            if row.contender == "particles auto":
                continue  # it may do less work than this roofline counts
            row.roofline_fraction = 1e6 * self.roofline.seconds(self.case, phase, stored) / row.median_us
        return rows

    def _call(self, phase: str, module: nn.Module) -> Callable[[], object]:
        if phase == "forward":

            def forward() -> None:
                with torch.no_grad():
                    module(self.x)

            return forward
        wanted = [self.x, *module.parameters()]
        if phase == "backward":
            z = module(self.x)
            return lambda: torch.autograd.grad(z, wanted, self.dz, retain_graph=True)
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-9, fused=self.device.type == "cuda")

        def step() -> None:
            optimizer.zero_grad()
            self.x.grad = None
            module(self.x).backward(self.dz)
            optimizer.step()

        return step

    def _peak_mb(self, phase: str, module: nn.Module) -> float | None:
        """What the layer takes beyond x and dz: parameters, and the most that a phase allocates from nothing."""
        module(self.x)  # compiles
        module.zero_grad()
        self.x.grad = None
        peak = peak_memory(self.device, lambda: self._call(phase, module)())
        stored = sum(p.numel() * p.element_size() for p in module.parameters())
        return None if peak is None else (peak + stored) / MEGABYTE

    def _error(self, module: nn.Module) -> float | None:
        """The largest |z - exact| / sum |w x|, where a float64 product of stored weights is cheap."""
        if self.case.size > LARGEST_CHECKED or not isinstance(module, ParticleLinear):
            return None
        with torch.no_grad():
            assert module.bias is not None
            z = module(self.x).double()
            r_in, v_in, r_out, v_out = (p.double() for p in module._operands())
            weight = pn.dense_weight(r_in, v_in, r_out, v_out, module.potential)
            exact = torch.addmm(module.bias.double(), self.x.double(), weight)
            scale = self.x.double().abs() @ weight.abs()
            return float(((z - exact).abs() / scale).max())


def _row(case: Case, entrant: Contender, phase: str) -> Row:
    return Row(case.size, case.batch, case.dtype, entrant.dim, entrant.name, phase)


def _left_out(case: Case, entrants: list[Contender], status: str) -> list[Row]:
    rows = [_row(case, entrant, phase) for entrant in entrants for phase in PHASES]
    for row in rows:
        row.status = status
    return rows


def _reason(error: Exception) -> str:
    """Too little memory is a finding; anything else is a failure."""
    text = " ".join(str(error).split())[:200]
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory: {text}"
    return f"failed: {type(error).__name__}: {text}"


def _progress(case: Case, rows: list[Row]) -> None:
    now = [row for row in rows if (row.size, row.batch, row.dtype) == (case.size, case.batch, case.dtype)]
    cells = [f"{row.label} {row.median_us:.0f}us" for row in now if row.phase == "step" and row.median_us]
    print(f"{case.dtype} N={case.size} B={case.batch} step: {', '.join(cells)}", flush=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
