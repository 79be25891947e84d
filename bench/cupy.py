"""The operator on CuPy arrays beside cuBLAS on a stored W: ratios measured side by side, and memory.

    python -m bench.cupy --sizes 4096 16384 --batches 16 128 1024 --dtypes float32 float16

Every round takes all competitors in turn, as `bench.gpu_timing` times them; what is printed are medians on the device,
the ratio of medians, and what a call takes on the host. Needs CuPy and a CUDA GPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.gpu_queue import CupyQueue
from bench.gpu_timing import Stopwatch, interleaved
from pn_gpu.kernels import cuda, potentials
from pn_gpu.kernels.room import Direct, Particles

Array = Any
SECONDS = 0.03  # about so long per measurement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this measurement."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384], help="N = M of the layers")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 128, 1024], help="rows of x")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"], help="float16, float32 or float64")
    parser.add_argument("--dim", type=int, default=2, help="components of positions and of dipoles")
    parser.add_argument("--potential", default="gaussian", help="the pairwise function")
    parser.add_argument("--json", type=Path, help="also write the results to this file, after every layer")
    parser.add_argument("--dry-run", action="store_true", help="one tiny layer, and success where there is no GPU")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table, and return an exit code."""
    try:
        cuda.check_available()
    except RuntimeError as error:
        print(f"not measured: {error}")
        return 0 if args.dry_run else 1
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    print(f"CuPy {cupy.__version__}, {properties['name'].decode()}, n = d = {args.dim}, {args.potential}")
    print("dtype     N = M  batch  pass      particles us   cuBLAS us  cuBLAS / particles  host us  extra MB")
    results = []
    for dtype in args.dtypes:
        for size in [64] if args.dry_run else args.sizes:
            for batch in [4] if args.dry_run else args.batches:
                for result in _measure(cupy, dtype, size, batch, args.dim, args.potential):
                    results.append(result)
                    print(
                        f"{dtype:9} {size:5}  {batch:5}  {result['pass']:8}  {result['particles_us']:12.1f}"
                        f"  {result['cublas_us']:10.1f}  {result['ratio']:18.2f}  {result['host_us']:7.0f}"
                        f"  {result['extra_bytes'] / 2**20:8.1f}",
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
    stopwatch = Stopwatch(CupyQueue())
    for name, (ours, cublas) in competitors.items():
        times = interleaved(stopwatch, {"particles": ours, "cublas": cublas}, SECONDS)
        mine, theirs = times["particles"].median, times["cublas"].median
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
                "host_us": times["particles"].host,
                "queued": times["particles"].queued and times["cublas"].queued,
                "extra_bytes": _extra_bytes(cupy, ours),
            }
        )
    return results


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
