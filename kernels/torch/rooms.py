"""The kernels that serve torch tensors of a device."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch


def select_room(device: torch.device) -> Any:
    """The room whose ``forward`` and ``backward`` take matrices on ``device``.

    Raises
    ------
    ImportError
        If the device is a GPU and Triton cannot be imported.
    """
    return _triton_room() if device.type == "cuda" else _numpy_room()


@cache
def _numpy_room() -> Any:
    from pn_gpu.kernels.torch import cpu

    return cpu


@cache
def _triton_room() -> Any:
    try:
        importlib.import_module("triton")
    except ImportError as error:
        raise ImportError(
            "x is on a CUDA device, whose kernels need Triton 3.4 or newer: install it with "
            "pip install 'pn-gpu[torch]' (pip install triton on Linux, triton-windows on Windows), "
            "or move the tensors and modules to the CPU with .to('cpu')"
        ) from error
    return importlib.import_module("pn_gpu.kernels.triton")
