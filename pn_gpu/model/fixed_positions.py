"""Positions that are given and stay: where the sensors, pixels or samples behind a network's inputs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_integer

# Dimensions of positions where nothing says how many.
DEFAULT_DIM = 3


def check_places(positions: Any, num: int, dim: int | None) -> tuple[np.ndarray[Any, Any] | None, int]:
    """Given positions, None where there are none, and the dimensions n: ``dim``, else those of the positions, else 3.

    Raises
    ------
    ValueError, TypeError
        As of `check_positions`; or ``dim`` is no whole number of at least 1.
    """
    wanted = None if dim is None else check_integer("dim", dim, low=1)
    if positions is None:
        return None, DEFAULT_DIM if wanted is None else wanted
    given = check_positions(positions, num, wanted)
    return given, given.shape[1]


def check_positions(
    positions: Any, num: int | None = None, dim: int | None = None, name: str = "positions"
) -> np.ndarray[Any, Any]:
    """Given positions as float64 [N, n] on the host.

    Parameters
    ----------
    positions : array or nested sequence, [N, n]
        Of any library; of real numbers.
    num, dim : int, optional
        The N and n that are wanted; any of at least 1 by default.
    name : str, default "positions"
        What errors call them.

    Raises
    ------
    ValueError, TypeError
        If the shape is another, or there is anything but finite real numbers.
    """
    wanted = f"[{'N' if num is None else num}, {'n' if dim is None else dim}]"
    if not compat.is_array_api_obj(positions) and not isinstance(positions, Sequence):
        raise TypeError(f"{name}: got {type(positions).__name__}, want an array {wanted}")
    try:
        values = np.asarray(to_numpy(positions) if compat.is_array_api_obj(positions) else positions)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name}: got rows of different lengths, want an array {wanted}") from error
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{name}: got dtype {values.dtype}, want real numbers")
    if values.ndim != 2 or 0 in values.shape or values.shape != (num or len(values), dim or values.shape[1]):
        raise ValueError(f"{name}: got shape {list(values.shape)}, want {wanted}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f"{name}: got {values[bad[0]].tolist()} for input {bad[0]}, want finite numbers")
    return values.astype(np.float64)
