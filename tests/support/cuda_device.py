"""What the tests ask of torch on a CUDA device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def synchronisation_is_an_error() -> Iterator[None]:
    """Inside, whatever waits for the device raises, as far as torch notices."""
    with warnings.catch_warnings():
        # torch calls the mode a prototype, with a warning each time it is first set.
        warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
