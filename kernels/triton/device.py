"""The device a tensor lies on: its family, its size, and how to launch there."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from pn_gpu.kernels.triton.tiles import family_of

# Multiply-adds are fused on purpose: the default is about to change, and instruction counts rest on it.
COMPILE_OPTIONS = {"enable_fp_fusion": True}


class Device(NamedTuple):
    """What the launches need to know of a device."""

    family: str
    multiprocessors: int


# CPU tensors reach the kernels under Triton's interpreter alone; then a small device of this family is played.
INTERPRETED = Device("hopper", 4)


def device_of(tensor: Any) -> Device:
    """The device of ``tensor``."""
    return INTERPRETED if tensor.device.type == "cpu" else _cuda_device(tensor.device.index)


@lru_cache
def _cuda_device(index: int) -> Device:
    properties = torch.cuda.get_device_properties(index)
    return Device(family_of(properties.major, properties.minor), properties.multi_processor_count)


def on_device_of(tensor: Any) -> contextlib.AbstractContextManager[None]:
    """Make the device of ``tensor`` the current one, as Triton launches on the current device."""
    if tensor.device.type == "cpu":
        return contextlib.nullcontext()
    return torch.cuda.device(tensor.device)
