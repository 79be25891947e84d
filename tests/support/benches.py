"""What tests of benchmarks share: their options as typed, and data that anything learns."""

from __future__ import annotations

import argparse
from types import ModuleType

import numpy as np

from bench.equal_parameters_data import Split


def parsed(bench: ModuleType, *arguments: object) -> argparse.Namespace:
    """The options of a benchmark for some arguments."""
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args([*map(str, arguments)])


def easy_split(num: int, features: int, classes: int, distance: float = 2.0) -> Split:
    """Clouds that a linear classifier tells apart, half of them to be judged by."""
    rng = np.random.default_rng(0)
    centres = distance * rng.standard_normal((classes, features))
    y = rng.integers(classes, size=num)
    x = (centres[y] + rng.standard_normal((num, features))).astype(np.float32)
    return Split(x[: num // 2], y[: num // 2], x[num // 2 :], y[num // 2 :])
