"""Nested values as what JSON can hold and arrays beside it, and back: the one door to everything that is stored."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.backends import to_numpy

# Stands in the JSON for an array, and names it.
ARRAY_KEY = "__array__"


def as_stored_array(name: str, a: Any) -> np.ndarray[Any, Any]:
    """``a`` as a NumPy array in C order and this machine's byte order; TypeError if it holds no real numbers."""
    array = to_numpy(a)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name}: got an array of dtype {array.dtype}, want real numbers of at most 64 bits")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def pack(value: Any, name: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """``value`` with plain Python numbers, and with every array moved to ``arrays`` under a name that begins so.

    Raises
    ------
    TypeError
        If there is anything but numbers, strings, None, arrays, lists, tuples and mappings with strings as keys.
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == ARRAY_KEY:
                raise TypeError(f"{name}: got the key {key!r}, want strings (other than {ARRAY_KEY!r})")
        return {str(key): pack(item, f"{name}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, f"{name}.{index}", arrays) for index, item in enumerate(value)]
    if compat.is_array_api_obj(value):
        while name in arrays:
            name += "_"
        arrays[name] = as_stored_array(name, value)
        return {ARRAY_KEY: name}
    raise TypeError(
        f"{name}: got {type(value).__name__}, want numbers, strings, None, arrays, or lists and mappings of such"
    )


def unpack(value: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """What `pack` took; ValueError if an array is missing."""
    if isinstance(value, list):
        return [unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if ARRAY_KEY not in value:
        return {key: unpack(item, arrays) for key, item in value.items()}
    name = value[ARRAY_KEY]
    if not isinstance(name, str) or name not in arrays:
        raise ValueError(f"the array {name!r} is missing")
    return arrays[name]
