"""What the benchmarks share: interleaved timing, peak memory, a description of the machine, tables and pictures."""

from __future__ import annotations

import argparse
import csv
import ctypes
import multiprocessing
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pn_gpu.files import replacing
from pn_gpu.kernels.host.threads import num_threads

RESULTS = Path(__file__).parent / "results"
MB = 2**20
SPIN_SECONDS = 0.25
# What one measurement takes at the least.
SAMPLE_SECONDS = 0.1
Row = Mapping[str, object]
Result = TypeVar("Result")


def interleave(providers: Mapping[str, Callable[[], object]], seconds: float, least: int = 5) -> dict[str, np.ndarray]:
    """Times of every provider, taken in turn so that all meet the same disturbances.

    The threads of a BLAS go on spinning for some 100 ms after their last product and would take a core from whoever
    comes next, so every provider first waits, then runs once unmeasured, in the state that it leaves itself. Short
    calls are repeated, one after the other as in training: the first after a pause is not like the rest.

    Parameters
    ----------
    providers : mapping of str to callable
    seconds : float
        Rounds are added until this time is spent.
    least : int, default 5
        Rounds taken in any case.

    Returns
    -------
    dict of str to ndarray, [rounds]
        Seconds; one round to warm up is left out.
    """
    for function in providers.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in providers}
    begin, rounds = time.perf_counter(), 0
    while rounds < least or time.perf_counter() - begin < seconds:
        for name, function in providers.items():
            time.sleep(SPIN_SECONDS)
            function()
            times[name].append(_seconds_a_call(function))
        rounds += 1
    return {name: np.array(values) for name, values in times.items()}


def _seconds_a_call(function: Callable[[], object]) -> float:
    calls, start = 0, time.perf_counter()
    while True:
        function()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= SAMPLE_SECONDS:
            return elapsed / calls


def ratio(ours: np.ndarray, theirs: np.ndarray) -> dict[str, object]:
    """Medians in ms, and the quartiles of the ratio ours / theirs over the rounds."""
    low, middle, high = np.quantile(ours / theirs, [0.25, 0.5, 0.75])
    return {
        "ours_ms": round(1e3 * float(np.median(ours)), 3),
        "theirs_ms": round(1e3 * float(np.median(theirs)), 3),
        "ratio": round(float(middle), 3),
        "ratio_q25": round(float(low), 3),
        "ratio_q75": round(float(high), 3),
        "rounds": len(ours),
    }


def traced_peak(function: Callable[[], Sequence[np.ndarray]]) -> float:
    """MB of NumPy arrays allocated at the worst moment, less the arrays returned; memory kept before does not show."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    results = function()
    _, top = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (top - before - sum(a.nbytes for a in results)) / MB


def in_fresh_process(function: Callable[..., Result], *arguments: object) -> Result:
    """``function(*arguments)`` where nothing has been kept from earlier calls; the function is a module's own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def resident_peak(function: Callable[[], int]) -> float:
    """MB of resident memory at the worst moment beyond that before, less the bytes that ``function`` returns.

    It sees the memory of any library. Call it in a fresh process: freed memory that is used again does not show, though
    what the C library can give back to the system is given back first.
    """
    return_freed_memory()
    reset_peak()
    before = peak_bytes()
    kept = function()
    return (peak_bytes() - before - kept) / MB


def return_freed_memory() -> None:
    """Let freed memory go back to the system, where the C library can (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def reset_peak() -> None:
    """Let the peak of resident memory start again from what is resident now, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Most resident memory that this process has held."""
    try:
        status = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource  # Windows has none

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def machine() -> dict[str, object]:
    """Processor, threads and versions, as they go into every row of a CSV."""
    versions = {}
    for package in ("numpy", "torch"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = ""
    return {"cpu": _cpu_name(), "threads": num_threads(), "python": platform.python_version(), **versions}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def add_save_option(parser: argparse.ArgumentParser) -> None:
    """--save NAME."""
    parser.add_argument("--save", metavar="NAME", help="also write bench/results/NAME.csv")


def report(title: str, rows: Sequence[Row], save: str | None = None) -> None:
    """Print a table with the machine below it, and save it as CSV under ``save``."""
    print(title)
    columns = list(rows[0])
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[k]) for line in [columns, *cells]) for k in range(len(columns))]
    for line in [columns, *cells]:
        print("  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    print_row(machine())
    if save is not None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{save}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*columns, *machine()], lineterminator="\n")
            writer.writeheader()
            writer.writerows([{**row, **machine()} for row in rows])
        print(f"written: {path}")


def print_row(row: Row) -> None:
    """One row by itself, at once: to see how far a long table has come."""
    print("  " + ", ".join(f"{key} {_text(value)}" for key, value in row.items()), flush=True)


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if 0 < abs(value) < 0.1 else f"{value:.3f}"


def new_figure(width: float, height: float) -> Any:
    """An empty figure of matplotlib, in inches; None where that is not installed, and a word about it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed (pip install matplotlib)")
        return None
    # Made without pyplot, a figure asks for no window system and is gone when it is let go.
    return Figure(figsize=(width, height), layout="constrained")


def save_picture(figure: Any, path: Path) -> None:
    """Write ``figure`` as PATH.png and PATH.svg; the same figure gives the same bytes."""
    from matplotlib import rc_context

    # Without a salt the ids in an SVG are random; with fonttype "none" its letters stay text.
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
            with replacing(path.with_name(f"{path.name}.{suffix}")) as temporary:
                figure.savefig(temporary, format=suffix, dpi=150, metadata=metadata)
    print(f"written: {path}.png and .svg")
