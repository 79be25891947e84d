"""Measure `Costs` on this machine once, and keep them in the user's cache directory.

``PN_GPU_COSTS`` names a JSON file to use instead of measuring.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.dispatch import room_of
from pn_gpu.files import cache_folder, replacing
from pn_gpu.kernels import potentials
from pn_gpu.kernels.host.threads import num_threads
from pn_gpu.kernels.mehler.expansion import Approximation, make_expansion, ranked_degrees, rate
from pn_gpu.kernels.room import Direct, How, Mehler, Particles
from pn_gpu.planning.arithmetic import Arithmetic, dtype_name, dtype_of, is_on_gpu
from pn_gpu.planning.costs import Costs

Array = Any

VERSION = 5
SMALL_BATCH, LARGE_BATCH = 8, 128
# Widths at which the two methods are timed: long enough to measure, short enough for a second in all.
DIRECT_WIDTH, MEHLER_WIDTH = {"cpu": 768, "gpu": 8192}, {"cpu": 4096, "gpu": 131072}
FEATURES = 28
REPEATS = 4

_known: dict[str, Costs] = {}


def machine_costs(like: Array, arithmetic: Arithmetic | None = None) -> Costs:
    """`Costs` for particles such as ``like``: from memory, the file of ``PN_GPU_COSTS``, the cache, or measured
    now. ``arithmetic`` says in which numbers a GPU computes; by default in those of the particles.

    Raises
    ------
    ValueError
        If the file that ``PN_GPU_COSTS`` names does not hold costs.
    """
    numbers = (arithmetic or Arithmetic(dtype_name(like.dtype))) if is_on_gpu(like) else None
    key = _key(like, numbers)
    if key not in _known:
        override = os.environ.get("PN_GPU_COSTS")
        costs = _read(Path(override), None) if override else _read(cache_file(), key)
        if override and costs is None:
            raise ValueError(f"PN_GPU_COSTS: got {override!r}, want a JSON file of {', '.join(_names())}")
        if costs is None:
            costs = measure(like, numbers)
            _write(cache_file(), key, costs)
        _known[key] = costs
    return _known[key]


def cache_file() -> Path:
    """Where measured costs are kept."""
    return cache_folder() / "costs.json"


def measure(like: Array, arithmetic: Arithmetic | None = None) -> Costs:
    """Time both methods on random particles in the dtype of ``like``, whatever autocast is on; about a second."""
    with _without_autocast(like):
        return _measure(like, arithmetic)


def _without_autocast(like: Array) -> AbstractContextManager[Any]:
    if not compat.is_torch_array(like):
        return contextlib.nullcontext()
    import torch

    return torch.autocast(like.device.type, enabled=False)


def _measure(like: Array, arithmetic: Arithmetic | None) -> Costs:
    kind = "gpu" if is_on_gpu(like) else "cpu"
    direct = [_time_direct(like, arithmetic, width, batch) for width, batch in _sizes(DIRECT_WIDTH[kind])]
    mehler = [_time_mehler(like, arithmetic, width, batch) for width, batch in _sizes(MEHLER_WIDTH[kind])]
    weights, values = DIRECT_WIDTH[kind] ** 2, 2 * MEHLER_WIDTH[kind] * FEATURES
    direct_weight, direct_product = _line(direct, weights)
    mehler_value, mehler_product = _line(mehler, values)
    return Costs(
        direct_call=direct[0],
        direct_weight=direct_weight,
        direct_product=direct_product,
        mehler_call=mehler[0],
        mehler_feature=mehler_value / 3,
        mehler_product=mehler_product / 2,
    )


def _sizes(width: int) -> list[tuple[int, int]]:
    return [(16, 1), (width, SMALL_BATCH), (width, LARGE_BATCH)]


def _line(times: list[float], size: int) -> tuple[float, float]:
    """Seconds per value, and per value and row of x, from the times of no, a small and a large batch."""
    call, small, large = times
    per_row = max(large - small, 0.05 * large) / (LARGE_BATCH - SMALL_BATCH)
    return max(small - call - SMALL_BATCH * per_row, 0.05 * small) / size, per_row / size


def _time_direct(like: Array, arithmetic: Arithmetic | None, width: int, batch: int) -> float:
    precision = None if arithmetic is None else arithmetic.precision
    return _time_step(like, arithmetic, width, batch, Direct(potentials.get("gaussian"), precision))


def _time_mehler(like: Array, arithmetic: Arithmetic | None, width: int, batch: int) -> float:
    rates = np.full(2, rate(0.5))
    degrees, _ = ranked_degrees(rates, FEATURES)
    approximation = Approximation(make_expansion(np.zeros(2), np.eye(2), rates, degrees[:FEATURES]))
    return _time_step(like, arithmetic, width, batch, Mehler(approximation))


def _time_step(like: Array, arithmetic: Arithmetic | None, width: int, batch: int, how: How) -> float:
    x, dz, particles = _problem(like, arithmetic, width, batch)
    room = room_of(x, how)

    def step() -> None:
        _, residuals = room.forward(x, particles, None, how, keep=True)
        room.backward(dz, x, particles, how, residuals=residuals)

    return _seconds(step, like)


def _problem(like: Array, arithmetic: Arithmetic | None, width: int, batch: int) -> tuple[Array, Array, Particles]:
    rng, xp, device = np.random.default_rng(0), compat.array_namespace(like), compat.device(like)
    product_dtype = like.dtype if arithmetic is None else dtype_of(arithmetic, like)

    def normal(*shape: int, dtype: Any = like.dtype) -> Array:
        a = 0.5 * rng.standard_normal(shape, dtype=np.float32)
        return xp.astype(xp.asarray(a, device=device), dtype)

    x, dz = (normal(batch, width, dtype=product_dtype) for _ in range(2))
    return x, dz, Particles(*(normal(width, 2) for _ in range(4)))


def _seconds(step: Callable[[], None], like: Array) -> float:
    """The shortest of a few runs, after one that warms up."""
    times = []
    for _ in range(REPEATS + 1):
        _wait(like)
        start = time.perf_counter()
        step()
        _wait(like)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _wait(like: Array) -> None:
    """Until the device has done what it was given."""
    if compat.is_cupy_array(like):
        like.device.synchronize()
    elif compat.is_torch_array(like) and like.device.type == "cuda":
        compat.array_namespace(like).cuda.synchronize(like.device)


def _key(like: Array, arithmetic: Arithmetic | None) -> str:
    dtype = dtype_name(like.dtype)
    if arithmetic is None:
        return f"v{VERSION} cpu {platform.machine()} {_processor()} {num_threads()} threads {dtype}"
    library = type(like).__module__.partition(".")[0]
    return f"v{VERSION} {library} {_gpu_name(like)} {dtype} with {arithmetic.key(like)}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _gpu_name(like: Array) -> str:
    if compat.is_torch_array(like):
        import torch

        return torch.cuda.get_device_name(like.device) if like.device.type == "cuda" else str(like.device)
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(like.device.id)["name"].decode()


def _names() -> list[str]:
    return [field.name for field in fields(Costs)]


def _read(path: Path, key: str | None) -> Costs | None:
    """Costs from a file that holds one set of them, or under ``key`` of a file of many; None if it has
    none."""
    try:
        content = json.loads(path.read_text())
        entry = content if key is None else content[key]
        values = {name: float(entry[name]) for name in _names()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Costs(**values) if all(0 <= value < float("inf") for value in values.values()) else None


def _write(path: Path, key: str, costs: Costs) -> None:
    """Add to the cache; one that cannot be written is done without."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        content = {}
    if not isinstance(content, dict):
        content = {}
    content[key] = asdict(costs)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1))
