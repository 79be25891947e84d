"""Checks of tensors: every message names the argument, what it got and what it wanted.

Plain Python that torch.compile traces, so that checks cost nothing in a compiled graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

HALF_DTYPES = (torch.float16, torch.bfloat16)
DTYPES = (*HALF_DTYPES, torch.float32, torch.float64)
DEVICES = ("cpu", "cuda", "meta")
# The arguments of the operator that carry a batch; all others belong to the layer.
BATCHED = ("x", "dz")


def check_tensors(tensors: Mapping[str, Any]) -> None:
    """Dense floating tensors on one device; one dtype for the batch and one for the layer.

    The two dtypes agree, or the batch is of 16 bits and the layer of float32.

    Raises
    ------
    TypeError
        If one is no tensor, sparse, or of a wrong dtype.
    ValueError
        If one is on another device than the first, or on one that no kernel serves.
    """
    first, reference = next(iter(tensors.items()))
    for name, t in tensors.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: got {type(t).__name__}, want a torch tensor like {first}")
        if t.dtype not in DTYPES:
            raise TypeError(f"{name}: got dtype {t.dtype}, want float16, bfloat16, float32 or float64")
        if t.layout != torch.strided:
            raise TypeError(f"{name}: got layout {t.layout}, want a dense tensor")
        if t.device.type not in DEVICES:
            raise ValueError(f"{name}: got device {t.device}, want one of {', '.join(DEVICES)}")
        if t.device != reference.device:
            raise ValueError(f"{name}: got device {t.device}, want {reference.device} like {first}")
        _check_dtype(name, t, first, reference, tensors)


def _check_dtype(name: str, t: Tensor, first: str, reference: Tensor, tensors: Mapping[str, Any]) -> None:
    if t.dtype == reference.dtype:
        return
    if first in BATCHED and name not in BATCHED and reference.dtype in HALF_DTYPES:
        others = {tensors[key].dtype for key in ("r_in", "v_in", "r_out", "v_out")}
        if t.dtype == torch.float32 and (name == "bias" or len(others) == 1):
            return
        raise TypeError(
            f"{name}: got dtype {t.dtype}, want {reference.dtype} like {first} or, for all particles, float32"
        )
    raise TypeError(f"{name}: got dtype {t.dtype}, want {reference.dtype} like {first}")


def check_input(x: Any, positions: Tensor) -> None:
    """An input of a layer with input ``positions`` [N, n]: x [..., N] on its device, of a fitting dtype.

    Raises
    ------
    TypeError
        If ``x`` is no dense floating tensor of the layer's dtype or of 16 bits.
    ValueError
        If its last dimension or its device is another than the layer's.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x: got {type(x).__name__}, want a torch tensor")
    if x.ndim == 0 or x.shape[-1] != positions.shape[0]:
        raise ValueError(f"x: got shape {tuple(x.shape)}, want [..., {positions.shape[0]}], [..., in_features]")
    if x.dtype == positions.dtype and x.device == positions.device and x.layout == torch.strided:
        return
    if x.device != positions.device:
        raise ValueError(
            f"x: got device {x.device}, want {positions.device} like the layer; move one of them with .to()"
        )
    if x.layout != torch.strided:
        raise TypeError(f"x: got layout {x.layout}, want a dense tensor")
    if x.dtype not in HALF_DTYPES or positions.dtype != torch.float32:
        raise TypeError(
            f"x: got dtype {x.dtype}, want {positions.dtype} like the layer's particles"
            + (", float16 or bfloat16" if positions.dtype == torch.float32 else "")
        )
