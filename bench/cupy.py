"""The operator on CuPy arrays beside cuBLAS on a stored W: ratios measured side by side, and memory.

    python -m bench.cupy --sizes 4096 16384 --batches 16 128 1024 --dtypes float32 float16

Every round takes all competitors in turn, each timed by CUDA events after the L2 cache has been overwritten; what is
printed are medians and the ratio of medians. Needs CuPy and a CUDA GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pn_gpu.kernels import cuda, potentials
from pn_gpu.kernels.room import Direct, Particles

Array = Any
ROUNDS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this measurement."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384], help="N = M of the layers")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 128, 1024], help="rows of x")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"], help="float16, float32 or float64")
    parser.add_argument("--dim", type=int, default=2, help="components of positions and of dipoles")
    parser.add_argument("--potential", default="gaussian", help="the pairwise function")
    parser.add_argument("--json", type=Path, help="also write the results to this file")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table, and return an exit code."""
    try:
        cuda.check_available()
    except RuntimeError as error:
        print(f"not measured: {error}")
        return 1
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    print(f"CuPy {cupy.__version__}, {properties['name'].decode()}, n = d = {args.dim}, {args.potential}")
    print("dtype     N = M  batch  pass      particles us   cuBLAS us  cuBLAS / particles  extra MB")
    results = []
    for dtype in args.dtypes:
        for size in args.sizes:
            for batch in args.batches:
                for result in _measure(cupy, dtype, size, batch, args.dim, args.potential):
                    results.append(result)
                    print(
                        f"{dtype:9} {size:5}  {batch:5}  {result['pass']:8}  {result['particles_us']:12.1f}"
                        f"  {result['cublas_us']:10.1f}  {result['ratio']:18.2f}  {result['extra_bytes'] / 2**20:8.1f}",
                        flush=True,
                    )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    return 0


def _measure(cupy: Any, dtype: str, size: int, batch: int, dim: int, potential_name: str) -> list[dict[str, Any]]:
    """The forward and the backward of one layer."""
    rng = cupy.random.default_rng(0)
    how = Direct(potentials.get(potential_name))
    sum_dtype = "float64" if dtype == "float64" else "float32"

    def normal(*shape: int, scale: float = 1.0, kind: str = dtype) -> Array:
        return (scale * rng.standard_normal(shape, dtype="float32")).astype(kind)

    x, dz, w = normal(batch, size), normal(batch, size), normal(size, size)
    bias = cupy.zeros(size, sum_dtype)
    particles = Particles(*(normal(size, dim, scale=0.5, kind=sum_dtype) for _ in range(4)))
    competitors: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "forward": (lambda: cuda.forward(x, particles, bias, how), lambda: x @ w),
        "backward": (
            lambda: cuda.backward(dz, x, particles, how),
            lambda: (dz @ w.T, x.T @ dz, dz.sum(axis=0)),
        ),
    }
    results = []
    for name, (ours, cublas) in competitors.items():
        ours(), cublas()
        our_times, cublas_times = _interleaved(cupy, [ours, cublas])
        mine, theirs = statistics.median(our_times), statistics.median(cublas_times)
        results.append(
            {
                "dtype": dtype,
                "size": size,
                "batch": batch,
                "dim": dim,
                "pass": name,
                "particles_us": mine,
                "cublas_us": theirs,
                "ratio": theirs / mine,
                "extra_bytes": _extra_bytes(cupy, ours),
            }
        )
    return results


def _interleaved(cupy: Any, calls: list[Callable[[], object]]) -> list[list[float]]:
    """Microseconds of each call in each round, the rounds taking all calls in turn."""
    flush = cupy.empty(512 << 20, np.uint8)
    events = []
    for _ in range(ROUNDS):
        for call in calls:
            first, last = cupy.cuda.Event(), cupy.cuda.Event()
            # The GPU is busy with this while Python prepares the call, so launch times do not count.
            flush.fill(0)
            first.record()
            call()
            last.record()
            events.append((first, last))
    events[-1][1].synchronize()
    times = [1e3 * cupy.cuda.get_elapsed_time(first, last) for first, last in events]
    return [times[i :: len(calls)] for i in range(len(calls))]


def _extra_bytes(cupy: Any, call: Callable[[], object]) -> int:
    """Memory that the call takes from the pool, its results included."""
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    result = call()
    after = pool.total_bytes()
    del result
    return after - before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    raise SystemExit(run(parser.parse_args()))
